"""Masked kernels inside reversible and recomputed blocks, rewritten in either order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.ir.marks import kernel_of, role_of
from graphrev.passes import Mask, Recompute, Reversible
from graphrev.passes.mask import MaskPlan
from graphrev.pipeline import Pass, run
from tests.nets import batch, dense, snapshot, tf, training

MASK = Mask(first="masked", last="masked", begin=10**9, global_step=None)
STEPS = 2


def with_step(graph: Graph) -> Graph:
    """The training graph with a global step that the training op advances."""
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        with tf.control_dependencies([live.get_operation_by_name("train")]):
            step = tf.get_variable("step", [], tf.int64, tf.zeros_initializer(), use_resource=True)
            tf.group(tf.assign_add(step, 1), name="step_and_train")
        return snapshot(live)


def residual(resource: bool) -> Graph:
    def branch(x: Any, name: str) -> Any:
        return dense(x, name, resource=resource)

    return with_step(
        training(branch, branch, pairs=3, dtype=tf.float64, mark=graphrev.residual_pair)
    )


def recomputed(resource: bool) -> Graph:
    with tf.Graph().as_default() as live:
        h = tf.placeholder(tf.float64, [4, 8], "x")
        for number in range(3):
            with graphrev.recompute_scope():
                h = dense(
                    dense(h, f"a{number}", resource=resource), f"b{number}", resource=resource
                )
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(h**2), name="train")
        return with_step(snapshot(live))


def trained(graph: Graph, masks: dict[str, Any]) -> dict[str, Any]:
    """The variables of the program after some steps with given masks."""
    with tf.Graph().as_default() as live, tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run(initializers(live))
        for node in graph.nodes.values():
            if role_of(node) == "mask-assign":
                assign = live.get_operation_by_name(node.name)
                session.run(assign, {assign.inputs[1]: masks[kernel_of(node) or ""]})
        for _ in range(STEPS):
            session.run("step_and_train", {"x:0": batch().astype(float)})
        reads = {n: r for n, r in _reads(live) if not n.startswith(("model_pruning", "step"))}
        return {name: session.run(read) for name, read in reads.items()}


def initializers(live: Any) -> list[Any]:
    assigns = (op for op in live.get_operations() if op.name.endswith("/Assign"))
    return [op for op in assigns if op.name == f"{op.inputs[0].op.name}/Assign"]


def _reads(live: Any) -> Any:
    for op in live.get_operations():
        if op.type == "VariableV2":
            yield op.name, op.outputs[0]
        elif op.type == "VarHandleOp":
            reads = (r for r in op.outputs[0].consumers() if r.type == "ReadVariableOp")
            free = next((r for r in reads if not r.control_inputs), None)
            if free is not None:
                yield op.name, free.outputs[0]


def normed(resource: bool) -> Graph:
    """Batch norm, ReLU and a convolution in each half."""

    def half(x: Any, name: str) -> Any:
        images = tf.reshape(x, [-1, 1, 2, 4])
        with tf.variable_scope(name, use_resource=resource):
            scale = tf.get_variable("scale", [4], initializer=tf.ones_initializer())
            y, _, _ = tf.nn.fused_batch_norm(images, scale, tf.zeros([4]))
            start = tf.random_normal_initializer(stddev=0.3, seed=len(name))
            w = tf.get_variable("w", [1, 1, 4, 4], initializer=start)
        return tf.reshape(tf.nn.conv2d(tf.nn.relu(y), w, 1, "SAME"), [4, 8])

    return with_step(training(half, half, pairs=3, mark=graphrev.residual_pair))


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("mask_first", [True, False])
def test_either_order_trains_with_batch_norm_as_masks_alone(
    mask_first: bool, resource: bool
) -> None:
    """In float32: a stream is rebuilt to a few roundings."""
    graph = normed(resource)
    alone = run(graph, [MASK])
    passes: list[Pass[Any]] = [MASK, Reversible()] if mask_first else [Reversible(), MASK]
    outcome = run(graph, passes)
    plan = alone.steps[0].plan
    assert isinstance(plan, MaskPlan)
    assert all(not step.plan.is_empty for step in outcome.steps)
    draw = np.random.default_rng(4)
    masks = {k.variable: (draw.random(k.dims) > 0.5).astype(np.float32) for k in plan.kernels}
    assert len(masks) >= 6
    wanted, found = trained(alone.after, masks), trained(outcome.after, masks)
    for kernel, mask in masks.items():
        np.testing.assert_allclose(found[kernel], wanted[kernel], rtol=2e-6, atol=2e-6)
        start = trained_start(graph, kernel)
        np.testing.assert_array_equal(found[kernel][mask == 0], start[mask == 0])


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("kind", ["reversible", "recompute"])
@pytest.mark.parametrize("mask_first", [True, False])
def test_either_order_trains_as_masks_alone(kind: str, mask_first: bool, resource: bool) -> None:
    graph = residual(resource) if kind == "reversible" else recomputed(resource)
    other: Pass[Any] = Reversible() if kind == "reversible" else Recompute()
    alone = run(graph, [MASK])
    outcome = run(graph, [MASK, other] if mask_first else [other, MASK])
    plans = {step.pass_.name: step.plan for step in outcome.steps}
    assert not plans[kind].is_empty
    plan, single = plans["mask"], alone.steps[0].plan
    assert isinstance(plan, MaskPlan) and isinstance(single, MaskPlan)
    assert {k.variable for k in plan.kernels} == {k.variable for k in single.kernels}
    assert len(plan.kernels) >= 6 and not plan.rejections
    draw = np.random.default_rng(4)
    masks = {k.variable: (draw.random(k.dims) > 0.5).astype(float) for k in plan.kernels}
    wanted, found = trained(alone.after, masks), trained(outcome.after, masks)
    untouched = trained(graph, {})
    for kernel in masks:
        np.testing.assert_allclose(found[kernel], wanted[kernel], rtol=1e-6, atol=1e-12)
        dropped = masks[kernel] == 0
        start = trained_start(graph, kernel)
        np.testing.assert_array_equal(found[kernel][dropped], start[dropped])
        assert np.abs(untouched[kernel] - wanted[kernel]).max() > 1e-6


def trained_start(graph: Graph, kernel: str) -> Any:
    with tf.Graph().as_default() as live, tf.Session() as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run(initializers(live))
        return session.run(dict(_reads(live))[kernel])
