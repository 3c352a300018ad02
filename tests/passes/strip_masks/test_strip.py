"""Stripped graphs give the very same outputs and have the nodes they had before masking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.ir.marks import kernel_of
from graphrev.passes import Mask, StripMasks
from graphrev.passes.strip_masks import StripPlan
from graphrev.pipeline import Code, Run, run
from tests.nets import snapshot, tf
from tests.passes.mask import cases
from tests.passes.mask.nets import batch, built, convolutions, mask


def strip(graph: Graph) -> tuple[Run, StripPlan]:
    outcome = run(graph, [StripMasks()])
    plan = outcome.steps[0].plan
    assert isinstance(plan, StripPlan)
    return outcome, plan


def frozen(graph: Graph, output: str, init: list[str], train: int, feeds: Any) -> Graph:
    """Trains, then freezes with TensorFlow's own tool."""
    with tf.Graph().as_default() as live, tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run(init)
        for _ in range(train):
            session.run("train", feeds)
        convert = tensorflow.compat.v1.graph_util.convert_variables_to_constants
        fixed = convert(session, live.as_graph_def(), [output])
    return decode_graph(fixed.SerializeToString())


def outputs(graph: Graph, output: str, feeds: Any) -> Any:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        return session.run(f"{output}:0", feeds)


@pytest.mark.parametrize("case", cases.CASES)
def test_frozen_graph_keeps_its_outputs_bit_for_bit(case: str) -> None:
    plain = cases.graph(case, False)
    graph = decode_graph(plain.SerializeToString())
    masked = run(graph, [Mask(first="masked", last="masked", frequency=1)]).after
    feeds = cases.feeds(plain)
    target = [n.name for n in plain.node if n.op == "Square"][-1]
    before = frozen(masked, target, ["init"], 3, feeds)
    original = frozen(graph, target, ["init"], 0, feeds)
    outcome, plan = strip(before)
    assert plan.kernels and not plan.rejections
    assert len(outcome.after) <= len(original)
    assert not any(n.op == "Mul" and kernel_of(n) for n in outcome.after.nodes.values())
    np.testing.assert_array_equal(
        outputs(before, target, feeds), outputs(outcome.after, target, feeds)
    )


@pytest.mark.parametrize("case", cases.CASES)
def test_graph_with_variables_is_what_it_was_before_masking(case: str) -> None:
    graph = decode_graph(cases.graph(case, False).SerializeToString())
    masked = run(graph, [Mask(first="masked", last="masked")]).after
    outcome, _ = strip(masked)
    assert set(outcome.after.nodes) == set(graph.nodes)
    for name, node in graph.nodes.items():
        found = outcome.after[name]
        assert (found.op, found.control_inputs) == (node.op, node.control_inputs)
        assert dict(found.attrs) == dict(node.attrs)
        assert found.inputs == node.inputs, name


def test_saver_and_initializer_are_what_they_were() -> None:
    graph = built(convolutions)
    outcome, _ = strip(mask(graph)[0].after)
    assert set(outcome.after.nodes) == set(graph.nodes)
    for name, node in graph.nodes.items():
        found = outcome.after[name]
        assert (found.inputs, found.control_inputs) == (node.inputs, node.control_inputs)
        if name.startswith("save/") and "dtypes" in node.attrs:
            assert found.attrs["dtypes"] == node.attrs["dtypes"]


def test_masks_that_contrib_made_are_stripped_by_structure() -> None:
    """The product of a constant of zeros and ones and a kernel, under misleading names."""

    def graph(kernel_name: str) -> Graph:
        with tf.Graph().as_default() as live:
            x = tf.placeholder(tf.float32, [2, 3], "masked_weight_of_the_user")
            keep = tf.identity(tf.constant(np.eye(3, 4, dtype=np.float32)), name="a")
            w = tf.identity(tf.constant(batch((3, 4)), name=kernel_name), name="b")
            tf.matmul(x, tf.multiply(keep, w, name="c"), name="y")
            return snapshot(live)

    before = graph("w")
    outcome, plan = strip(before)
    assert plan.kernels == ("w",)
    assert set(outcome.after.nodes) == {"masked_weight_of_the_user", "w", "b", "y"}
    feeds = {"masked_weight_of_the_user:0": batch((2, 3))}
    np.testing.assert_array_equal(outputs(before, "y", feeds), outputs(outcome.after, "y", feeds))


def test_kernel_that_is_also_read_raw_is_left_alone() -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [2, 3], "x")
        w = tf.constant(batch((3, 4)), name="w")
        keep = tf.constant(np.eye(3, 4, dtype=np.float32))
        tf.add(tf.matmul(x, keep * w), tf.reduce_sum(w))
        graph = snapshot(live)
    outcome, plan = strip(graph)
    assert outcome.after is graph
    assert [r.code for r in plan.rejections] == [Code.MASK_ALTERED]


def test_products_that_are_no_masks_are_left_alone() -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [2, 3], "x")
        tf.matmul(x, tf.constant(batch((3, 4))) * tf.constant(batch((3, 4), 1)))
        tf.multiply(tf.constant(np.eye(3)), tf.constant(np.eye(3) * 2.0))
        graph = snapshot(live)
    outcome, plan = strip(graph)
    assert outcome.after is graph and not plan.rejections


def test_second_run_changes_nothing() -> None:
    after = strip(mask(built(convolutions))[0].after)[0].after
    assert strip(after)[0].after is after


def test_mask_that_the_program_reads_itself_is_left_alone() -> None:
    graph = mask(built(convolutions))[0].after
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        kept = tf.reduce_mean(live.get_tensor_by_name("c1/mask:0"), name="density")
        tf.identity(kept, name="shown")
        read = snapshot(live)
    outcome, plan = strip(read)
    assert outcome.after is read
    (rejection,) = plan.rejections
    assert rejection.code is Code.MASK_ALTERED
    assert rejection.nodes == ("c1/mask", "density")
