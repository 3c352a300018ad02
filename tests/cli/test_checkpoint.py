"""``graphrev checkpoint``: dense to masked and back, sparsity, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.io.checkpoints import read_checkpoint, write_checkpoint
from tests.cli.runner import assert_inert, assert_refused, invoke
from tests.nets import tf
from tests.passes.mask import savers

MASK = "mask{sparsity=0.8,first=masked,last=masked,end=6,frequency=2}"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs with their dense checkpoints and masked graphs."""
    made = tmp_path_factory.mktemp("programs")
    savers.build(made)
    for case in savers.SAVERS:
        graphrev.rewrite(made / f"{case}.meta", MASK).save(made / f"{case}.masked.meta")
    return made


def trained(folder: Path, case: str, start: Path, steps: int, target: Path) -> Path:
    """Continues a masked graph from ``start`` and saves."""
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(folder / f"{case}.masked.meta"))
        saver.restore(session, str(start))
        for _ in range(steps):
            session.run("train", savers.BATCH)
        saver.save(session, str(target), write_meta_graph=False)
    return target


def loss(meta: Path, prefix: Path) -> Any:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(str(meta)).restore(session, str(prefix))
        return session.run("loss:0", savers.BATCH)


@pytest.mark.parametrize("case", savers.SAVERS)
def test_dense_to_masked_to_dense(case: str, folder: Path, tmp_path: Path, capsys: Capture) -> None:
    graph, dense = folder / f"{case}.masked.meta", folder / f"{case}.dense"
    masked, back = tmp_path / "masked", tmp_path / "back"
    assert invoke(capsys, "checkpoint", dense, "-g", graph, "-o", masked).code == 0
    assert (tmp_path / "masked.index").exists() == (case != "older")
    before, after = read_checkpoint(dense), read_checkpoint(masked)
    assert all((after[f"l{n}/mask"] == 1).all() for n in range(3))
    assert set(before) < set(after)
    assert loss(graph, masked) == loss(folder / f"{case}.meta", dense)
    end = trained(folder, case, masked, 8, tmp_path / "end")
    outcome = invoke(capsys, "checkpoint", end, "-g", graph, "-o", back, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["kernels"]
    for row in rows:
        assert row["zeros"] == row["target_zeros"]
        # Each of three partitions is rounded by itself.
        assert abs(row["zeros"] - row["weights"] * 0.8) <= (1.5 if case == "partitioned" else 0.5)
    found = read_checkpoint(back)
    assert set(found) == set(before)
    for row in rows:
        assert np.count_nonzero(found[row["kernel"]]) == row["weights"] - row["zeros"]
    assert loss(folder / f"{case}.meta", back) == loss(graph, end)


def test_masks_may_drop_what_is_zero_already(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    values = read_checkpoint(folder / "ref.dense")
    values["l1/kernel"][:, ::2] = 0
    write_checkpoint(tmp_path / "half", values)
    graph, out = folder / "ref.masked.meta", tmp_path / "out"
    args = ("checkpoint", tmp_path / "half", "-g", graph, "-o", out, "--masks", "zeros")
    assert invoke(capsys, *args).code == 0
    found = read_checkpoint(out)
    np.testing.assert_array_equal(found["l1/mask"], values["l1/kernel"] != 0)
    assert found["l0/mask"].all()


def test_report_is_a_table_and_scalars(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    end = trained(folder, "ref", folder / "ref.dense", 8, tmp_path / "end")
    graph = folder / "ref.masked.meta"
    outcome = invoke(capsys, "checkpoint", end, "-g", graph, "--logdir", tmp_path / "logs")
    assert outcome.code == 0
    assert_inert(outcome.out)
    assert "l0/kernel" in outcome.out and "total" in outcome.out and "80.00%" in outcome.out
    (file,) = (tmp_path / "logs").iterdir()
    found = {
        value.tag: value.simple_value
        for event in tf.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert found["sparsity/l0/kernel"] == pytest.approx(0.8)
    assert set(found) == {f"sparsity/l{n}/kernel" for n in range(3)} | {"sparsity/total"}


def test_missed_target_is_a_loud_failure(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    end = trained(folder, "ref", folder / "ref.dense", 8, tmp_path / "end")
    values = read_checkpoint(end)
    values["l1/mask"][0] = 1
    write_checkpoint(tmp_path / "late", values)
    outcome = invoke(capsys, "checkpoint", tmp_path / "late", "-g", folder / "ref.masked.meta")
    assert outcome.code == 1
    assert "missed their target" in outcome.err and "'l1/kernel'" in outcome.err
    early = trained(folder, "ref", folder / "ref.dense", 1, tmp_path / "early")
    assert invoke(capsys, "checkpoint", early, "-g", folder / "ref.masked.meta").code == 0


def test_checkpoint_of_another_graph_is_refused_with_names_and_shapes(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    values = read_checkpoint(folder / "ref.dense")
    values["l1/kernel"] = values["l1/kernel"].T
    del values["l2/kernel"]
    write_checkpoint(tmp_path / "other", values)
    graph, out = folder / "ref.masked.meta", tmp_path / "out"
    outcome = invoke(capsys, "checkpoint", tmp_path / "other", "-g", graph, "-o", out)
    said = "'l1/kernel' has the shape [9, 12], not [12, 9]", "'l2/kernel' [9, 3] is not in it"
    assert_refused(outcome, 2, *said)
    assert not list(tmp_path.glob("out*"))


def test_wrong_calls_are_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    dense, graph = folder / "ref.dense", folder / "ref.masked.meta"
    out = tmp_path / "out"

    def call(*args: str | Path) -> Any:
        return invoke(capsys, "checkpoint", *args)

    no_masks = call(dense, "-g", folder / "ref.meta", "-o", out)
    assert_refused(no_masks, 2, "no masks that a mask pass recorded")
    assert_refused(call(tmp_path / "none", "-g", graph, "-o", out), 2, "no readable checkpoint")
    assert_refused(call(dense, "-g", graph, "--to", "masked"), 2, "where to write")
    assert_refused(call(dense, "-g", graph, "-o", out, "--to", "dense"), 2, "is not in it")
    assert_refused(call("-g", graph, "-o", out), 2, "starts as a constant")
    assert_refused(call(dense, "-g", graph, "-o", tmp_path / "no" / "out"), 3, "no folder")
    assert not list(tmp_path.iterdir())
    assert call(dense, "-g", graph, "-o", out).code == 0
    before = read_checkpoint(out)
    assert_refused(call(dense, "-g", graph, "-o", out), 2, "exists")
    assert_refused(call(out, "-g", graph, "-o", out), 2, "is the input")
    twice = call(out, "-g", graph, "-o", tmp_path / "more", "--to", "masked")
    assert_refused(twice, 2, "holds masks already")
    assert read_checkpoint(out).keys() == before.keys()
    assert call(dense, "-g", graph, "-o", out, "--overwrite").code == 0


def test_frozen_graph_is_reported_by_its_constants(tmp_path: Path, capsys: Capture) -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [2, 4], "x")
        keep = tf.constant(np.eye(4, dtype=np.float32), name="keep")
        h = tf.matmul(
            x, tf.identity(keep) * tf.constant(np.full((4, 4), 2.0, np.float32), name="w")
        )
        tf.matmul(h, tf.constant(np.triu(np.ones((4, 4), np.float32)), name="v"))
        (tmp_path / "frozen.pb").write_bytes(live.as_graph_def().SerializeToString())
    outcome = invoke(capsys, "checkpoint", "-g", tmp_path / "frozen.pb", "--json")
    assert outcome.code == 0
    found = {row["kernel"]: row["zeros"] for row in json.loads(outcome.out)["kernels"]}
    assert found == {"w": 12, "v": 6}
