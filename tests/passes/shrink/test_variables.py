"""Graphs with variables: the smaller checkpoint is written beside the smaller graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev.errors import UsageError
from graphrev.io.checkpoints import read_checkpoint
from tests.cli.runner import invoke
from tests.passes.shrink.nets import tf

DEAD = {"a": [1, 4], "c": [1, 4], "b": []}


def layer(x: Any, name: str, filters: int, size: int, resource: bool) -> Any:
    with tf.variable_scope(name, use_resource=resource):
        dims = [size, size, int(x.shape[-1]), filters]
        start = tf.random_normal_initializer(stddev=0.3, seed=len(name))
        w = tf.get_variable("w", dims, initializer=start)
        b = tf.get_variable("b", [filters], initializer=tf.constant_initializer(0.5))
        return tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "SAME"), b)


def saved(folder: Path, *, resource: bool, slots: bool = False) -> tuple[str, np.ndarray]:
    """A checkpoint with its .meta, and what the net computes of ones."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, 6, 6, 3], name="x")
        y = tf.nn.relu(layer(x, "a", 6, 3, resource))
        y = y + layer(y, "c", 6, 1, resource)
        tf.identity(tf.reduce_mean(layer(y, "b", 4, 3, resource), [1, 2]), name="y")
        tf.get_variable("global_step", [], tf.int64, tf.zeros_initializer(), trainable=False)
        saver = tf.train.Saver()
        with tf.Session(graph=graph) as session:
            session.run(tf.global_variables_initializer())
            for variable in tf.trainable_variables():
                scope, kind = variable.op.name.split("/")
                value = session.run(variable)
                if kind == "w":
                    value[..., DEAD[scope]] = 0
                    variable.load(value, session)
            prefix = saver.save(session, str(folder / "model"))
            out = session.run("y:0", {"x:0": np.ones([2, 6, 6, 3], np.float32)})
    return prefix, out


@pytest.mark.parametrize("resource", [False, True])
def test_graph_and_checkpoint_shrink_together(tmp_path: Path, resource: bool) -> None:
    prefix, want = saved(tmp_path, resource=resource)
    before = {path: path.read_bytes() for path in tmp_path.glob("model*")}
    result = gr.rewrite(f"{prefix}.meta", f"shrink{{checkpoint={prefix}}}")
    result.save(tmp_path / "small.meta")
    assert all(path.read_bytes() == data for path, data in before.items())
    values = read_checkpoint(tmp_path / "small")
    # One of the two constant channels stays: it carries both through the border of b.
    assert {name: list(value.shape) for name, value in values.items()} == {
        "a/b": [5], "a/w": [3, 3, 3, 5], "b/b": [4], "b/w": [3, 3, 5, 4], "c/b": [5],
        "c/w": [1, 1, 5, 5], "global_step": [],
    }  # fmt: skip
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(tmp_path / "small.meta"))
        saver.restore(session, str(tmp_path / "small"))
        got = session.run("y:0", {"x:0": np.ones([2, 6, 6, 3], np.float32)})
        np.testing.assert_allclose(got, want, atol=1e-5)
        session.run(tf.global_variables_initializer())
        sizes = {v.op.name: session.run(v).shape for v in tf.global_variables()}
        assert sizes == {name: value.shape for name, value in values.items()}
        assert saver.save(session, str(tmp_path / "again"))


def test_the_smaller_graph_trains(tmp_path: Path) -> None:
    prefix, _ = saved(tmp_path, resource=True)
    gr.rewrite(f"{prefix}.meta", f"shrink{{checkpoint={prefix}}}").save(tmp_path / "small.meta")
    with tf.Graph().as_default() as graph, tf.Session() as session:
        saver = tf.train.import_meta_graph(str(tmp_path / "small.meta"))
        loss = tf.reduce_mean(tf.square(graph.get_tensor_by_name("y:0") - 1.0))
        step = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss)
        session.run(tf.global_variables_initializer())
        saver.restore(session, str(tmp_path / "small"))
        fed = {"x:0": np.random.RandomState(0).normal(size=[8, 6, 6, 3])}
        first = session.run(loss, fed)
        for _ in range(20):
            session.run(step, fed)
        assert session.run(loss, fed) < 0.5 * first


def test_the_command_line_writes_both_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix, _ = saved(tmp_path, resource=False)
    command = ["rewrite", f"{prefix}.meta", "-o", str(tmp_path / "small.meta")]
    command += ["-p", f"shrink{{checkpoint={prefix}}}"]
    done = invoke(capsys, *command)
    assert done.code == 0, done.err
    assert "channels removed" in done.out
    assert {path.name for path in tmp_path.glob("small*")} == {
        "small.meta", "small.index", "small.data-00000-of-00001",
    }  # fmt: skip
    (tmp_path / "small.meta").unlink()
    refused = invoke(capsys, *command)
    assert refused.code == 2
    assert "exists" in refused.err
    own = [*command[:3], str(tmp_path / "model.pbtxt"), *command[4:]]
    assert invoke(capsys, *own).code == 2
    assert not (tmp_path / "model.pbtxt").exists()


def test_what_is_missing_or_of_another_graph_is_said(tmp_path: Path) -> None:
    prefix, _ = saved(tmp_path, resource=False)
    with pytest.raises(UsageError, match=r"weights are variables.*shrink\{checkpoint=PREFIX\}"):
        gr.rewrite(f"{prefix}.meta", "shrink")
    with pytest.raises(UsageError, match="no readable checkpoint"):
        gr.rewrite(f"{prefix}.meta", "shrink{checkpoint=nowhere}")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("a/w", [1, 2])
        session.run(tf.global_variables_initializer())
        other = tf.train.Saver().save(session, str(tmp_path / "other"), write_meta_graph=False)
    with pytest.raises(UsageError, match="of another graph"):
        gr.rewrite(f"{prefix}.meta", f"shrink{{checkpoint={other}}}")
