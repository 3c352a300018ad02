"""Frozen graphs become trainable, are pruned, and freeze to what they were, with zeros."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphrev
from graphrev.io.checkpoints import read_checkpoint, write_checkpoint
from graphrev.passes.mask.checkpoints import MaskedGraph
from graphrev.pipeline import Code
from tests.cli.runner import invoke
from tests.nets import snapshot, tf
from tests.passes.mask import freezing
from tests.passes.mask.nets import mask
from tools.oracle import environment, find_oracle

OPTIONS = "mask{unfreeze=true,sparsity=0.9,first=masked,last=masked,end=20,frequency=5}"


def check_round(python: str, folder: Path) -> None:
    """Frozen, unfrozen and masked, trained, frozen again, stripped."""

    def child(what: str) -> str:
        command = [python, "-W", "ignore", freezing.__file__, what, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    child("build")
    result = graphrev.rewrite(folder / "frozen.pb", OPTIONS)
    result.save(folder / "masked.meta")
    about = MaskedGraph(result.model.graph)
    write_checkpoint(folder / "start", about.initial())
    said = json.loads(child("train").splitlines()[-1])
    assert said["trained"] == ["c0/w", "c1/w", "f/w", "g/w"]
    assert said["same"] and said["losses"][-1] < said["losses"][0]
    end = read_checkpoint(folder / "end")
    assert about.ended(end)
    assert all(row.zeros == row.target == round(row.weights * 0.9) for row in about.sparsity(end))
    stripped = graphrev.rewrite(folder / "final.pb", "strip-masks")
    frozen = graphrev.load(folder / "frozen.pb").graph
    assert set(stripped.model.graph.nodes) == set(frozen.nodes)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(stripped.graph_def, name="")
        found = session.run("y:0", freezing.BATCH)
    if python == sys.executable:
        np.testing.assert_array_equal(found, np.load(folder / "final.npy"))
    np.testing.assert_allclose(found, np.load(folder / "final.npy"), rtol=1e-4, atol=1e-5)


def test_frozen_graph_is_pruned_and_trained(tmp_path: Path) -> None:
    check_round(sys.executable, tmp_path)


@pytest.mark.oracle
def test_the_same_under_tensorflow_1(tmp_path: Path) -> None:
    python, why = find_oracle(install=False)
    if python is None:
        pytest.skip(why)
    check_round(str(python), tmp_path)


def test_command_line_writes_graph_and_initial_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    freezing.build(tmp_path)
    frozen, meta = tmp_path / "frozen.pb", tmp_path / "masked.meta"
    assert invoke(capsys, "rewrite", frozen, "-o", meta, "-p", OPTIONS).code == 0
    outcome = invoke(capsys, "checkpoint", "-g", meta, "-o", tmp_path / "start")
    assert outcome.code == 0, outcome.err
    values = read_checkpoint(tmp_path / "start")
    assert values["global_step"] == 0 and (values["f/mask"] == 1).all()
    assert values["f/w"].shape == (180, 8)
    plain = invoke(capsys, "rewrite", frozen, "-o", tmp_path / "x.meta", "-p", "mask")
    assert plain.code == 2 and not (tmp_path / "x.meta").exists()


def test_what_is_no_kernel_stays_a_constant() -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 3], "x")
        h = tf.matmul(x, tf.constant(np.ones((3, 5), np.float32), name="w"))
        both = tf.matmul(tf.constant(np.eye(5)), tf.constant(np.eye(5)))
        tf.nn.bias_add(h, tf.constant(np.ones(5, np.float32), name="b")) + tf.cast(
            both[:4], h.dtype
        )
        with graphrev.no_rewrite():
            tf.matmul(h, tf.constant(np.ones((5, 2), np.float32), name="left"))
        graph = snapshot(live)
    outcome, plan = mask(graph, unfreeze=True)
    assert plan.thaw.constants == ("w",)
    assert outcome.after["b"] is graph["b"] and outcome.after["left"] is graph["left"]
    assert [k.variable for k in plan.kernels] == ["w"]
    frozen_only = mask(graph)[1]
    assert {r.code for r in frozen_only.rejections} == {Code.KERNEL_IS_CONSTANT}
    again, plan = mask(outcome.after, unfreeze=True)
    assert again.after is outcome.after
