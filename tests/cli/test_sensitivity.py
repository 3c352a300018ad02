"""``graphrev sensitivity`` as a shell sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from tests.cli.runner import assert_inert, assert_refused, invoke
from tests.verification.test_sensitivity import A, B, X, loss, net


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "net.pb").write_bytes(encode_graph(net(True)))
    return tmp_path


def run(capsys: Any, folder: Path, *more: Any) -> Any:
    feed = f"x={folder / 'x.npy'}"
    return invoke(capsys, "sensitivity", folder / "net.pb", "--loss", "loss", "--feed", feed, *more)


def test_table_names_every_kernel_and_target(frozen: Path, capsys: Any) -> None:
    found = run(capsys, frozen, "--levels", "0,0.5", "--sparsity", "0.4")
    assert found.code == 0 and found.err == ""
    head, first, second, last = found.out.splitlines()
    assert head.split() == ["kernel", "weights", "0%", "50%", "target"]
    assert first.split()[:2] == ["a", "30"] and second.split()[:2] == ["b", "15"]
    assert last == f"loss with every kernel whole: {loss(A, B):.4g}"


def test_json_holds_losses_and_targets_that_a_rewrite_takes(frozen: Path, capsys: Any) -> None:
    target = frozen / "t.json"
    printed = json.loads(run(capsys, frozen, "--sparsity", "0.5", "-o", target, "--json").out)
    assert printed == json.loads(target.read_text())
    assert [k["kernel"] for k in printed["kernels"]] == ["a", "b"]
    spec = f"mask{{unfreeze=true,targets={target}}}"
    done = invoke(capsys, "rewrite", frozen / "net.pb", "-o", frozen / "m.pb", "-p", spec)
    assert done.code == 0


def test_page_draws_every_kernel_and_loads_nothing(frozen: Path, capsys: Any) -> None:
    page = frozen / "s.html"
    found = run(capsys, frozen, "--sparsity", "0.5", "-o", page)
    assert found.code == 0 and found.out.endswith(f"Wrote {page}.\n")
    text = page.read_text()
    assert text.count("<polyline") == 2 and "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert run(capsys, frozen, "-o", page).code == 2
    assert run(capsys, frozen, "-o", page, "--overwrite").code == 0


def test_hostile_names_are_inert(tmp_path: Path, capsys: Any) -> None:
    from graphrev.diff.html.curves import render_curves

    scan = {
        "loss": "<b>",
        "dense": 1.0,
        "levels": [0.0, 0.5],
        "kernels": [{"kernel": "<script>", "shape": [2], "losses": [1.0, float("nan")]}],
    }
    page = render_curves(scan, "<i>.pb")
    assert "<script" not in page and "<b>" not in page and "<i>" not in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--levels", "a"), "no list of numbers"),
        (("--feed", "x=nothing.npy"), "nothing.npy"),
        (("-o", "out.txt"), "neither .html nor .json"),
        (("--sparsity", "0.95"), "goes up to 0.9"),
        (("--loss", "nope\x1b[31m"), "no tensor"),
    ],
)
def test_wrong_calls_are_refused(frozen: Path, capsys: Any, more: Any, said: str) -> None:
    outcome = run(capsys, frozen, *more)
    assert_refused(outcome, 2, said)
    assert_inert(outcome.err)


def test_file_that_is_no_graph_is_invalid(frozen: Path, capsys: Any) -> None:
    (frozen / "net.pb").write_bytes(b"\xff\x00nothing")
    assert run(capsys, frozen).code == 3


def test_targets_file_without_targets_is_refused(frozen: Path, capsys: Any) -> None:
    (frozen / "t.json").write_text("{}")
    for name, said in (("t.json", "lists no targets"), ("u.json", "cannot be read")):
        spec = f"mask{{unfreeze=true,targets={frozen / name}}}"
        done = invoke(capsys, "rewrite", frozen / "net.pb", "-o", frozen / "m.pb", "-p", spec)
        assert_refused(done, 2, said)
