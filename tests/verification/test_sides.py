"""Steps whose gradients have no value, because they wait for a branch that is not taken."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from graphrev.api import verify
from graphrev.errors import VerificationError
from graphrev.ir import Graph, Node, TensorRef
from graphrev.verification.drifts import rebuilt_streams
from tests.nets import dense, rewrite, snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def waiting(taken: bool, net: Callable[[Any], Any] = lambda x: dense(x, "layer")) -> Graph:
    """A training step that waits for an update in a branch, as batch norm's in a cond."""
    with tf.Graph().as_default() as live:
        wanted = tf.placeholder_with_default(taken, [], "wanted")
        mean = tf.get_variable(
            "mean", [], initializer=tf.zeros_initializer(), trainable=False, use_resource=False
        )
        tf.cond(wanted, lambda: tf.assign_add(mean, 1.0), lambda: tf.constant(0.0))
        update = next(op for op in live.get_operations() if op.type == "AssignAdd")
        loss = tf.reduce_mean(net(tf.ones([4, 8])), name="loss")
        with tf.control_dependencies([update]):
            tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        return snapshot(live)


def made_dead(graph: Graph, name: str) -> Graph:
    """The graph with a node that waits for a branch that is not taken."""
    switch = next(n for n in graph.nodes.values() if n.op == "Switch")
    late = Node("late", "Identity", (TensorRef(switch.name, 1),), attrs={"T": switch.attrs["T"]})
    waits = graph[name].evolve(control_inputs=(*graph[name].control_inputs, "late"))
    table: dict[str, Any] = {**graph.nodes, "late": late, name: waits}
    return Graph(MappingProxyType(table), graph.functions, graph.versions)


@pytest.mark.parametrize("taken", [True, False])
def test_gradients_that_wait_for_a_branch_not_taken_are_left_out(taken: bool) -> None:
    graph = waiting(taken)
    outcome = verify(graph, graph, feeds={"wanted:0": np.asarray(taken)})
    assert outcome.ok, outcome.to_text()
    kinds = {item.kind for item in outcome.comparisons}
    assert kinds == {"output", "variable"} | ({"gradient"} if taken else set())
    assert taken != any("no value in this step" in note for note in outcome.notes)


@pytest.mark.parametrize("taken", [True, False])
def test_streams_that_are_rebuilt_for_such_gradients_are_left_out_too(taken: bool) -> None:
    def net(x: Any) -> Any:
        a, b = dense(x, "a"), dense(x, "b")
        for number in range(2):
            a = a + dense(b, f"f{number}")
            b = b + dense(a, f"g{number}")
        return a + b

    before = waiting(taken, net)
    after = rewrite(before)[0].after
    assert rebuilt_streams(after)
    outcome = verify(before, after, feeds={"wanted:0": np.asarray(taken)})
    assert outcome.ok, outcome.to_text()
    assert bool(outcome.drifts) == taken


def test_a_fetch_that_is_named_and_has_no_value_is_an_error() -> None:
    graph = waiting(False)
    switch = next(n for n in graph.nodes.values() if n.op == "Switch")
    with pytest.raises(VerificationError, match="does not have value"):
        verify(graph, graph, feeds={"wanted:0": np.asarray(False)}, fetches=[f"{switch.name}:1"])


def test_a_gradient_that_only_the_second_graph_makes_dead_is_an_error() -> None:
    with tf.Graph().as_default() as live:
        loss = tf.reduce_mean(dense(tf.ones([4, 8]), "layer"), name="loss")
        tf.cond(tf.constant(False), lambda: tf.constant(1.0), lambda: tf.constant(0.0))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        graph = snapshot(live)
    applied = next(n for n in graph.nodes.values() if n.op.endswith("ApplyGradientDescent"))
    with pytest.raises(VerificationError, match=r"second graph.*does not have value"):
        verify(graph, made_dead(graph, applied.inputs[2].node))
