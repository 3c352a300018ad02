"""The digits protocol: its net, its splits, and what a row says."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nets import snapshot, tf
from tools.bench import digits_child, peers, prune


def test_net_has_the_weights_of_the_protocol() -> None:
    with tf.Graph().as_default() as graph:
        digits_child.network()
        kernels = [v for v in tf.trainable_variables() if v.op.name.endswith("kernel")]
        sizes = {v.op.name.split("/")[0]: int(np.prod(v.shape)) for v in kernels}
        snapshot(graph)
    assert sizes == prune.SIZES and sum(sizes.values()) == prune.WEIGHTS


def test_splits_share_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.zeros((1797, 65))
    table[:, 0] = np.arange(1797)
    monkeypatch.setenv("GRAPHREV_BENCH", str(tmp_path))
    with gzip.open(tmp_path / "digits.csv.gz", "wt") as out:
        np.savetxt(out, table, delimiter=",")
    found = {name: np.load(path) for name, path in peers.splits().items()}

    def images(split: str, part: str) -> set[float]:
        return {float(x) for x in found[split][f"x_{part}"][:, 0, 0, 0]}

    assert [len(images(s, p)) for s in ("test", "valid") for p in ("train", "test")] == [
        1347, 450, 1077, 270,
    ]  # fmt: skip
    assert images("test", "test").isdisjoint(images("test", "train"))
    assert images("valid", "train") | images("valid", "test") == images("test", "train")
    assert images("valid", "train").isdisjoint(images("valid", "test"))


def test_row_says_mean_error_and_bar() -> None:
    row = prune.Row("graphrev", 0.95, (98.0, 99.0, 100.0), 0.95, 8.0)
    assert row.mean == 99.0 and row.error == pytest.approx(1 / 3**0.5)
    assert "99.00 +- 0.58" in prune.line(row) and "bar 98.6 - 0.58" in prune.line(row)
    assert prune.line(prune.Row("peer", 0.5, note="why")).endswith("not measured: why")


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [({"conv1/mask": 432, "dense0/mask": 131072}, 18000), ({"0": 288, "4": 280}, 1000), ({}, 0)],
)
def test_kernels_without_a_mask_count_as_whole(kept: dict[str, int], dropped: int) -> None:
    assert prune._dropped(kept) == dropped


def test_peer_that_is_missing_or_fails_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    def splits() -> dict[str, Path]:
        np.savez(tmp_path / "d.npz", x_train=np.zeros(128))
        return {"test": tmp_path / "d.npz"}

    monkeypatch.setattr(peers, "splits", splits)
    protocol = prune.Protocol("test", 1, tmp_path)
    assert protocol.steps == 40
    assert protocol.peer("p", None, "why", prune.CHILD, 0.5).note == "why"
    broken = tmp_path / "child.py"
    broken.write_text("raise ValueError('no such net')")
    note = protocol.peer("p", Path(prune.sys.executable), "", broken, 0.5).note
    assert note == "fails: ValueError: no such net"
