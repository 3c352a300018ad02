"""Frozen graphs without their masks, and frozen graphs from checkpoints (seed-systems.md 2.7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev import pruning
from graphrev.errors import GraphrevError
from tests.cli.runner import assert_refused, invoke
from tests.pruning.running import session

tf: Any = tensorflow.compat.v1


@pytest.fixture(autouse=True)
def graph() -> Iterator[Any]:
    was = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    with tf.Graph().as_default() as made:
        tf.train.get_or_create_global_step()
        yield made
    (tf.enable_control_flow_v2 if was else tf.disable_control_flow_v2)()


def pruned(output: Any) -> tuple[Any, Any]:
    """The frozen graph after one update to a sparsity of a half, and the output's value."""
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    with session(update) as opened:
        whole = opened.graph.as_graph_def()
        frozen = tf.graph_util.convert_variables_to_constants(opened, whole, [output.op.name])
        return frozen, opened.run(output)


def value_in(graph_def: Any, name: str) -> Any:
    with tf.Graph().as_default(), tf.Session() as opened:
        return opened.run(tf.import_graph_def(graph_def, return_elements=[name], name="")[0])


def ops(graph_def: Any) -> dict[str, str]:
    return {node.name: node.op for node in graph_def.node}


def test_masked_weight_becomes_a_constant_of_its_name() -> None:
    with tf.variable_scope("", use_resource=False):
        x = tf.placeholder(tf.float32, [2, 4], name="x")
        tf.identity(pruning.masked_fully_connected(x, 3), name="out")
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    with session(update) as opened:
        frozen = tf.graph_util.convert_variables_to_constants(
            opened, opened.graph.as_graph_def(), ["out"]
        )
        masked = opened.run(pruning.get_masked_weights()[0])
    stripped = pruning.strip_pruning_vars_fn(frozen, ["out"])
    full = "fully_connected"
    assert ops(stripped) == {
        "x": "Placeholder",
        f"{full}/weights/masked_weight": "Const",
        f"{full}/biases": "Const",
        f"{full}/biases/read": "Identity",
        f"{full}/MatMul": "MatMul",
        f"{full}/BiasAdd": "BiasAdd",
        f"{full}/Relu": "Relu",
        "out": "Identity",
    }
    np.testing.assert_array_equal(value_in(stripped, f"{full}/weights/masked_weight:0"), masked)
    assert 2 * np.count_nonzero(masked) == masked.size


def test_node_that_is_only_called_like_a_mask_stays() -> None:
    x = tf.placeholder(tf.float32, [2, 4], name="x")
    scaled = tf.multiply(x, 2.0, name="masked_weight_of_something")
    out = pruning.masked_fully_connected(scaled, 3)
    frozen, _ = pruned_without_running(out)
    stripped = pruning.strip_pruning_vars_fn(frozen, [out.op.name])
    assert ops(stripped)["masked_weight_of_something"] == "Mul"
    assert ops(stripped)["fully_connected/weights/masked_weight"] == "Const"


def pruned_without_running(output: Any) -> tuple[Any, Any]:
    with session() as opened:
        whole = opened.graph.as_graph_def()
        names = [output.op.name]
        return tf.graph_util.convert_variables_to_constants(opened, whole, names), None


def test_mask_of_another_name_goes() -> None:
    """A graph that contrib masked says nothing about its masks; any name would do."""
    mask = tf.constant(np.eye(4, dtype=np.float32), name="a")
    kernel = tf.constant(np.arange(16.0, dtype=np.float32).reshape(4, 4), name="b")
    tf.matmul(tf.ones([2, 4]), tf.multiply(mask, kernel, name="c"), name="out")
    whole = tf.get_default_graph().as_graph_def()
    stripped = pruning.strip_pruning_vars_fn(whole, ["out"])
    assert sorted(ops(stripped)) == ["c", "ones", "out"]
    np.testing.assert_array_equal(value_in(stripped, "out:0"), value_in(whole, "out:0"))


@pytest.mark.parametrize("shape", [(8,), (2, 4), (2, 2, 2)])
def test_weight_of_any_rank_that_no_product_reads(shape: tuple[int, ...]) -> None:
    with tf.variable_scope("layer"):
        weight = tf.get_variable("w", initializer=np.arange(1.0, 9.0, dtype="f").reshape(shape))
        out = tf.tanh(pruning.apply_mask(weight))
    frozen, before = pruned(out)
    stripped = pruning.strip_pruning_vars_fn(frozen, [out.op.name])
    assert ops(stripped)["layer/weights/masked_weight"] == "Const"
    assert len(stripped.node) == 2
    np.testing.assert_array_equal(value_in(stripped, out.name), before)


def test_masked_weight_in_a_loop_enters_it() -> None:
    """As contrib's cells put it into dynamic_rnn's loop: a product in every iteration."""
    mask, kernel = tf.constant(np.eye(3, dtype="f")), tf.constant(np.full((3, 3), 2.0, "f"))

    def body(count: Any, x: Any) -> Any:
        return count + 1, tf.matmul(x, tf.multiply(mask, kernel, name="weights/masked_weight"))

    _, out = tf.while_loop(lambda count, _: count < 3, body, [0, tf.ones([1, 3])])
    tf.identity(out, name="out")
    whole = tf.get_default_graph().as_graph_def()
    stripped = pruning.strip_pruning_vars_fn(whole, ["out"])
    assert ops(stripped)["while/weights/masked_weight"] == "Enter"
    np.testing.assert_array_equal(value_in(stripped, "out:0"), np.full((1, 3), 8.0))


def test_cell_in_a_loop_is_stripped() -> None:
    cell = pruning.MaskedBasicLSTMCell(3)
    out, _ = tf.nn.dynamic_rnn(cell, tf.ones([2, 4, 3]), dtype=tf.float32)
    frozen, before = pruned(out)
    stripped = pruning.strip_pruning_vars_fn(frozen, [out.op.name])
    assert not [name for name in ops(stripped) if name.endswith(("/mask", "/threshold"))]
    np.testing.assert_array_equal(value_in(stripped, out.name), before)


def test_graph_that_is_not_frozen_is_refused() -> None:
    out = pruning.masked_fully_connected(tf.ones([2, 4]), 3)
    whole = tf.get_default_graph().as_graph_def()
    with pytest.raises(ValueError, match="Freeze the graph first") as caught:
        pruning.strip_pruning_vars_fn(whole, [out.op.name])
    assert isinstance(caught.value, GraphrevError)


@pytest.mark.parametrize(
    ("names", "kind", "said"),
    [(["nope"], AssertionError, "nope is not in graph"), ("out", TypeError, "must be a list")],
)
def test_bad_output_names_are_refused(names: Any, kind: type[Exception], said: str) -> None:
    tf.constant(1.0, name="out")
    with pytest.raises(kind, match=said) as caught:
        pruning.strip_pruning_vars_fn(tf.get_default_graph().as_graph_def(), names)
    assert isinstance(caught.value, GraphrevError)


def saved(folder: Path) -> Any:
    """A checkpoint of a pruned layer; the output's name and value."""
    out = pruning.masked_fully_connected(tf.ones([2, 4]), 3)
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    saver = tf.train.Saver()
    with session(update) as opened:
        saver.save(opened, str(folder / "model"), global_step=3)
        return out.op.name, opened.run(out)


def test_checkpoint_is_frozen_in_a_graph_of_its_own(tmp_path: Path) -> None:
    name, before = saved(tmp_path)
    count = len(tf.get_default_graph().get_operations())
    frozen = pruning.graph_def_from_checkpoint(str(tmp_path), [name])
    assert len(tf.get_default_graph().get_operations()) == count
    np.testing.assert_array_equal(value_in(frozen, f"{name}:0"), before)


def test_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Could not find a checkpoint at"):
        pruning.graph_def_from_checkpoint(str(tmp_path), ["out"])


def test_stripped_checkpoint_is_written(tmp_path: Path) -> None:
    name, before = saved(tmp_path)
    pruning.strip_pruning_vars(str(tmp_path), f" {name} , ", str(tmp_path), "small.pb")
    written = tf.GraphDef.FromString((tmp_path / "small.pb").read_bytes())
    assert "Mul" not in ops(written).values()
    np.testing.assert_array_equal(value_in(written, f"{name}:0"), before)


def test_stripping_without_an_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Need to specify atleast 1 output node"):
        pruning.strip_pruning_vars(str(tmp_path), " , ", str(tmp_path), "small.pb")


def test_cli_writes_what_strip_pruning_vars_wrote(tmp_path: Path, capsys: Any) -> None:
    """Its flags checkpoint_dir, output_node_names, output_dir and filename as an argument, two
    options, and one refusal for each that is missing."""
    name, before = saved(tmp_path)
    small = tmp_path / "pruning_stripped.pb"
    call = ("checkpoint", tmp_path, "--freeze", f" {name} , ", "-o", small)
    assert invoke(capsys, *call).code == 0
    written = tf.GraphDef.FromString(small.read_bytes())
    pruning.strip_pruning_vars(str(tmp_path), name, str(tmp_path), "by_call.pb")
    assert small.read_bytes() == (tmp_path / "by_call.pb").read_bytes()
    np.testing.assert_array_equal(value_in(written, f"{name}:0"), before)
    assert_refused(invoke(capsys, *call), 2, "exists")
    assert invoke(capsys, *call, "--overwrite").code == 0
    for lacking in (call[:4], ("checkpoint", tmp_path, "--freeze", " , ", "-o", small)):
        assert_refused(invoke(capsys, *lacking), 2, "--freeze takes a checkpoint")
    other = tmp_path / "other.pb"
    unknown = ("checkpoint", tmp_path, "--freeze", "nope", "-o", other)
    assert_refused(invoke(capsys, *unknown), 2, "nope is not in graph")
    next(tmp_path.glob("model-3.index")).write_bytes(b"none")
    broken = ("checkpoint", tmp_path / "model-3", "--freeze", name, "-o", other)
    assert_refused(invoke(capsys, *broken), 2, "cannot be frozen")
    assert not other.exists()
