"""SavedModels lose channels together with their variables; partitioned variables keep theirs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev import pruning
from graphrev.errors import UsageError
from graphrev.io.checkpoints import read_checkpoint
from tests.cli.runner import assert_refused, invoke
from tests.passes.shrink.nets import codes, tf

IMAGES = np.random.RandomState(0).normal(size=[2, 6, 6, 3]).astype(np.float32)
AXES = {"whole": (), "rows": (0,), "inputs": (2,), "filters": (3,)}


def parts_along(axes: tuple[int, ...]) -> Any:
    """Two parts along the given axes of kernels, everything else whole."""
    return lambda shape, **_: [
        2 if place in axes and shape.rank == 4 else 1 for place in range(shape.rank)
    ]


def layer(x: Any, name: str, filters: int, dead: list[int]) -> Any:
    """A convolution and the assignments that make some filters dead."""
    with tf.variable_scope(name):
        w = tf.get_variable("w", [3, 3, int(x.shape[-1]), filters])
    y = tf.nn.conv2d(x, w, 1, "SAME")
    value = np.random.RandomState(filters).normal(size=w.shape.as_list()).astype(np.float32)
    value[..., dead] = 0
    parts = list(w) if hasattr(w, "as_tensor") else [w]
    starts, assigns = [0] * 4, []
    for part in parts:
        place = tuple(slice(s, s + n) for s, n in zip(starts, part.shape.as_list()))
        assigns.append(tf.assign(part, value[place]))
        starts = [s + (n if n < whole else 0)
                  for s, n, whole in zip(starts, part.shape.as_list(), value.shape)]  # fmt: skip
    return tf.nn.relu(y), assigns


def net(axes: tuple[int, ...] = ()) -> tuple[Any, Any, list[Any]]:
    """``(x, y, assignments)``; the kernel of ``a`` lies in parts."""
    tf.set_random_seed(1)
    x = tf.placeholder(tf.float32, [None, 6, 6, 3], name="x")
    with tf.variable_scope("", partitioner=parts_along(axes) if axes else None):
        y, first = layer(x, "a", 6, [1, 4])
    y, second = layer(y, "b", 5, [2])
    y, third = layer(y, "c", 4, [])
    return x, tf.identity(tf.reduce_mean(y, [1, 2]), name="y"), [first, second, third]


def exported(folder: Path, tags: tuple[str, ...] = ("serve",)) -> np.ndarray:
    """A SavedModel, one MetaGraphDef for each tag; what it computes."""
    with tf.Graph().as_default(), tf.Session() as session:
        x, y, assigns = net()
        session.run(tf.global_variables_initializer())
        session.run(assigns)
        builder = tf.saved_model.Builder(str(folder))
        signature = tf.saved_model.predict_signature_def({"images": x}, {"scores": y})
        builder.add_meta_graph_and_variables(session, [tags[0]], {"serving_default": signature})
        for tag in tags[1:]:
            builder.add_meta_graph([tag])
        builder.save()
        return session.run(y, {x: IMAGES})


def served(folder: Path) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as session:
        found = tf.saved_model.loader.load(session, ["serve"], str(folder))
        signature = found.signature_def["serving_default"]
        names = signature.inputs["images"].name, signature.outputs["scores"].name
        return session.run(names[1], {names[0]: IMAGES})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_saved_model_shrinks_with_the_variables_it_holds(tmp_path: Path) -> None:
    want = exported(tmp_path / "big")
    before = files(tmp_path / "big")
    gr.rewrite(tmp_path / "big", "shrink").save(tmp_path / "small")
    assert files(tmp_path / "big") == before
    assert sorted(files(tmp_path / "small")) == sorted(before)
    values = read_checkpoint(tmp_path / "small" / "variables" / "variables")
    assert {name: list(value.shape) for name, value in values.items()} == {
        "a/w": [3, 3, 3, 4], "b/w": [3, 3, 4, 4], "c/w": [3, 3, 4, 4],
    }  # fmt: skip
    np.testing.assert_allclose(served(tmp_path / "small"), want, atol=1e-5)
    again = gr.rewrite(tmp_path / "small", "shrink")
    assert not again.changed


def test_command_line_shrinks_a_saved_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    want = exported(tmp_path / "big")
    command = ("rewrite", tmp_path / "big", "-o", tmp_path / "small", "-p", "shrink")
    done = invoke(capsys, *command)
    assert done.code == 0, done.err
    assert "3 channels removed" in done.out
    np.testing.assert_allclose(served(tmp_path / "small"), want, atol=1e-5)
    assert_refused(invoke(capsys, *command), 2, "exists")
    assert invoke(capsys, *command, "--overwrite").code == 0
    np.testing.assert_allclose(served(tmp_path / "small"), want, atol=1e-5)


def test_saved_model_can_be_written_as_a_graph_with_a_checkpoint(tmp_path: Path) -> None:
    want = exported(tmp_path / "big")
    gr.rewrite(tmp_path / "big", "shrink").save(tmp_path / "small.meta")
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(tmp_path / "small.meta"))
        saver.restore(session, str(tmp_path / "small"))
        np.testing.assert_allclose(session.run("y:0", {"x:0": IMAGES}), want, atol=1e-5)


def test_graphs_that_share_variables_are_not_parted(tmp_path: Path) -> None:
    exported(tmp_path / "big", ("serve", "train"))
    result = gr.rewrite(tmp_path / "big", "shrink")
    with pytest.raises(UsageError, match="2 graphs that share the variables"):
        result.save(tmp_path / "small")
    assert not (tmp_path / "small").exists()
    result.save(tmp_path / "small.meta")


def test_untouched_saved_model_keeps_its_variables_byte_for_byte(tmp_path: Path) -> None:
    exported(tmp_path / "big")
    gr.rewrite(tmp_path / "big", "clean-scopes").save(tmp_path / "same")
    found = files(tmp_path / "same")
    for name, data in files(tmp_path / "big").items():
        assert name == "saved_model.pb" or found[name] == data


def test_masked_layers_lose_masks_and_kernels_together(tmp_path: Path) -> None:
    """A pruned model as it is served, masks and all: no need to fold them first."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 6, 6, 3], "x")
        y = pruning.masked_conv2d(pruning.masked_conv2d(x, 8, 3), 6, 3)
        y = pruning.masked_fully_connected(tf.reduce_mean(y, [1, 2]), 4, activation_fn=None)
        session.run(tf.global_variables_initializer())
        for mask in pruning.get_masks()[:2]:
            kept = np.ones(mask.shape.as_list(), np.float32)
            kept[..., [0, 2]] = 0
            session.run(tf.assign(mask, kept))
        tf.saved_model.simple_save(session, str(tmp_path / "big"), {"images": x}, {"scores": y})
        want = session.run(y, {x: IMAGES})
    result = gr.rewrite(tmp_path / "big", "shrink")
    rows = result.report.steps[0].plan.to_json()["kernels"]
    kernels = {row["kernel"]: row["after"] for row in rows}
    assert kernels == {
        "Conv/weights": [3, 3, 3, 6], "Conv_1/weights": [3, 3, 6, 4],
        "fully_connected/weights": [4, 4],
    }  # fmt: skip
    result.save(tmp_path / "small")
    values = read_checkpoint(tmp_path / "small" / "variables" / "variables")
    assert values["Conv_1/mask"].shape == values["Conv_1/weights"].shape == (3, 3, 6, 4)
    np.testing.assert_allclose(served(tmp_path / "small"), want, atol=1e-5)


def partitioned(folder: Path, axes: tuple[int, ...]) -> tuple[str, Any, np.ndarray]:
    """A checkpoint with its .meta, the frozen graph, and what the net computes."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x, y, assigns = net(axes)
        saver = tf.train.Saver()
        session.run(tf.global_variables_initializer())
        session.run(assigns)
        prefix = saver.save(session, str(folder / "model"))
        definition = graph.as_graph_def()
        frozen = tf.graph_util.convert_variables_to_constants(session, definition, ["y"])
        return prefix, frozen, session.run(y, {x: IMAGES})


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_frozen_parts_of_a_kernel_shrink(tmp_path: Path, axes: tuple[int, ...]) -> None:
    _, frozen, want = partitioned(tmp_path, axes)
    result = gr.rewrite(frozen, "shrink")
    plan = result.report.steps[0].plan.to_json()
    assert plan["channels_removed"] == 3
    assert len(plan["kernels"]) == 3
    with tf.Graph().as_default(), tf.Session() as session:
        (y,) = tf.import_graph_def(result.graph_def, {}, ["y:0"], name="")
        np.testing.assert_allclose(session.run(y, {"x:0": IMAGES}), want, atol=1e-5)


@pytest.mark.parametrize("axes", list(AXES.values())[1:], ids=list(AXES)[1:])
def test_partitioned_variables_keep_their_channels_and_others_go(
    tmp_path: Path, axes: tuple[int, ...]
) -> None:
    prefix, _, want = partitioned(tmp_path, axes)
    result = gr.rewrite(f"{prefix}.meta", f"shrink{{checkpoint={prefix}}}")
    assert ("channels_opaque", "save/SaveV2") in codes(result.report.rejections)
    reasons = [rejection.reason for rejection in result.report.rejections]
    assert sum(int(reason.partition(" filters of 'a/w/part_0'")[0]) for reason in reasons) == 2
    said = r"saves 'a/w/part_[01]' as a part of a larger tensor \(freeze the graph"
    assert all(re.search(said, reason) for reason in reasons)
    result.save(tmp_path / "small.meta")
    values = read_checkpoint(tmp_path / "small")
    assert {name: list(value.shape) for name, value in values.items()} == {
        "a/w": [3, 3, 3, 6], "b/w": [3, 3, 6, 4], "c/w": [3, 3, 4, 4],
    }  # fmt: skip
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(str(tmp_path / "small.meta"))
        saver.restore(session, str(tmp_path / "small"))
        np.testing.assert_allclose(session.run("y:0", {"x:0": IMAGES}), want, atol=1e-5)
