"""Steps that race with themselves, and rewrites that make a step race."""

from __future__ import annotations

import pytest

from graphrev.ir import Graph, TensorRef
from graphrev.verification import verify
from graphrev.verification.races import races
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
