"""Steps that race with themselves, and rewrites that make a step race."""

from __future__ import annotations

from typing import Any

import pytest

import graphrev
from graphrev.io import encode_graph
from graphrev.ir import Graph, TensorRef
from graphrev.verification import verify
from graphrev.verification.races import added, races
from tests.nets import dense, snapshot, tf


def step(resource: bool, gated: bool) -> Graph:
    """Two dense layers; ``gated``: the updates wait for the gradients, as optimizers do it."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        y = dense(dense(x, "one", resource=resource), "two", resource=resource)
        loss = tf.reduce_mean(tf.square(y), name="loss")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        variables = tf.trainable_variables()
        gradients = tf.gradients(loss, variables)
        if gated:
            gradients = tf.tuple(gradients)
        optimizer.apply_gradients(zip(gradients, variables), name="train")
        return snapshot(graph)


@pytest.mark.parametrize("resource", [True, False])
def test_a_gated_step_does_not_race(resource: bool) -> None:
    assert not races(step(resource, gated=True), ["train", "loss"])


def test_an_update_that_may_overtake_the_gradient_that_is_passed_on_is_a_race() -> None:
    (race,) = races(step(resource=False, gated=False), ["train", "loss"])
    assert race.variable == "two/w"
    assert step(resource=False, gated=False)[race.reader].op == "MatMul"


def test_reads_of_resource_variables_are_snapshots() -> None:
    assert not races(step(resource=True, gated=False), ["train", "loss"])


def test_a_step_that_races_is_compared_gradients_first() -> None:
    graph = step(resource=False, gated=False)
    for seed in range(5):
        outcome = verify(graph, graph, seed=seed)
        assert outcome.ok, outcome.to_text()
        assert {item.kind for item in outcome.comparisons} == {"output", "gradient", "variable"}


def test_a_wrong_update_is_found_although_the_step_races() -> None:
    graph = step(resource=False, gated=False)
    name = next(n for n in graph.nodes if n.endswith("two/w/ApplyGradientDescent"))
    node = graph[name]
    swapped = node.evolve(inputs=(node.inputs[0], TensorRef("loss"), node.inputs[2]))
    wrong = Graph.of(swapped if n.name == name else n for n in graph.nodes.values())
    assert not verify(graph, wrong).ok


def test_a_race_that_only_the_second_graph_has_is_a_difference() -> None:
    before, after = step(False, gated=True), step(False, gated=False)
    outcome = verify(before, after, fetches=["loss", "train"])
    assert not outcome.ok
    assert "race" in {item.kind for item in outcome.comparisons if not item.ok}


def decaying() -> Graph:
    """Weights that decay in a step of their own, as in contrib's AdamW: nothing orders it."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        y = dense(dense(x, "one", resource=False), "two", resource=False)
        loss = tf.reduce_mean(tf.square(y), name="loss")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        gradients = optimizer.compute_gradients(loss)
        decayed = [v.assign_sub(0.01 * v) for v in tf.trainable_variables()]
        with tf.control_dependencies(decayed):
            optimizer.apply_gradients(gradients, tf.train.create_global_step(), "train")
        return snapshot(graph)


def test_what_stands_between_a_variable_and_its_readers_races_as_they_did() -> None:
    graph = decaying()
    outcome = graphrev.rewrite(
        tf.GraphDef.FromString(encode_graph(graph)),
        "mask{sparsity=0.5,begin=1000,first=masked,last=masked}",
    )
    after = outcome.model.graph
    racing, more = races(graph, ["train"]), races(after, ["train"])
    assert racing and more - racing
    assert not added(graph, after, racing, more)
    assert added(graph, after, frozenset(), more) == more  # Nobody raced there before.
    found = verify(graph, after, fetches=["train", "loss"])
    assert found.ok, found.to_text()


def test_a_mask_behind_a_kept_value_is_a_mask_of_the_kernel() -> None:
    """The reversible pass keeps what decays early; the mask pass sees the kernel behind it."""
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        x1, x2 = dense(x, "one", resource=False), dense(x, "two", resource=False)
        for number in range(2):
            x1 = x1 + dense(x2, f"f{number}", resource=False)
            x2 = x2 + dense(x1, f"g{number}", resource=False)
        loss = tf.reduce_mean(tf.square(x1 + x2), name="loss")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        gradients = optimizer.compute_gradients(loss)
        with tf.control_dependencies([v.assign_sub(0.01 * v) for v in tf.trainable_variables()]):
            optimizer.apply_gradients(gradients, tf.train.create_global_step(), "train")
        graph = snapshot(live)
    outcome = graphrev.rewrite(
        tf.GraphDef.FromString(encode_graph(graph)),
        ["reversible{detect=structural}", "mask{sparsity=0.5,begin=1000,first=masked,last=masked}"],
    )
    assert [n for n in outcome.model.graph.nodes.values() if n.op == "DeepCopy"]
    assert "6 kernels" in outcome.report.steps[1].plan.summary()
    found = verify(graph, outcome.model.graph, fetches=["train", "loss"])
    assert found.ok, found.to_text()


def branching(*, write: bool, functional: bool) -> Graph:
    """A variable that a branch reads (or writes), and a read of it that nothing orders."""
    set_v2 = tf.enable_control_flow_v2 if functional else tf.disable_control_flow_v2
    set_v2()
    with tf.Graph().as_default() as live:
        kernel = tf.get_variable("w", [2, 2], use_resource=True)
        taken = (lambda: kernel.assign_add([[1.0] * 2] * 2)) if write else kernel.read_value
        y = tf.cond(tf.placeholder(tf.bool, [], "p"), taken, lambda: tf.zeros([2, 2]))
        tf.identity(y, name="branch")
        tf.add(kernel.read_value(), 1.0, name="beside")
        graph = snapshot(live)
    return graph


@pytest.mark.parametrize("functional", [True, False])
def test_a_branch_that_reads_a_resource_does_not_write_it(
    functional: bool, control_flow_v2: Any
) -> None:
    graph = branching(write=False, functional=functional)
    assert not races(graph, ["branch", "beside"])
    graph = branching(write=True, functional=functional)
    assert {race.variable for race in races(graph, ["branch", "beside"])} == {"w"}


def of_two_nets() -> Graph:
    """Pairs that are trained, and the same pairs of other weights, which nothing differentiates.

    The other net's weights are updated by the first one's gradients, as in A3C.
    """
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        ends: list[Any] = []
        for net in ("shared", "local"):
            with tf.variable_scope(net):
                x1, x2 = dense(x, "one", resource=False), dense(x, "two", resource=False)
                for number in range(2):
                    x1 = x1 + dense(x2, f"f{number}", resource=False)
                    x2 = x2 + dense(x1, f"g{number}", resource=False)
                ends.append(tf.reduce_mean(tf.square(x1 + x2), name="loss"))
        shared, local = (tf.trainable_variables(net) for net in ("shared", "local"))
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        gradients = tf.tuple(tf.gradients(ends[1], local))
        optimizer.apply_gradients(zip(gradients, shared), name="train")
        return snapshot(graph)


def test_a_block_without_gradients_does_not_race_by_being_prepared_for_them() -> None:
    """What it hands its weights to computes nothing with them."""
    graph = of_two_nets()
    outcome = graphrev.rewrite(
        tf.GraphDef.FromString(encode_graph(graph)), "reversible{detect=structural}"
    )
    after = outcome.model.graph
    assert [n for n in after.nodes.values() if n.op == "IdentityN" and n.name not in graph]
    found = verify(graph, after, fetches=["train", "shared/loss"])
    assert not [item for item in found.comparisons if item.kind == "race"], found.to_text()
