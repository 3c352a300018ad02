"""Steps whose gradients have no value, because they wait for a branch that is not taken."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from graphrev.api import verify
from graphrev.errors import VerificationError
from graphrev.ir import Graph
from tests.nets import dense, snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def waiting(taken: bool, *, dropout: bool = False) -> Graph:
    """A training step that waits for an update in a branch, as batch norm's in a cond."""
    with tf.Graph().as_default() as live:
        wanted = tf.placeholder_with_default(taken, [], "wanted")
        mean = tf.get_variable(
            "mean", [], initializer=tf.zeros_initializer(), trainable=False, use_resource=False
        )
        tf.cond(wanted, lambda: tf.assign_add(mean, 1.0), lambda: tf.constant(0.0))
        update = next(op for op in live.get_operations() if op.type == "AssignAdd")
        x = tf.nn.dropout(tf.ones([4, 8]), rate=0.5) if dropout else tf.ones([4, 8])
        loss = tf.reduce_mean(dense(x, "layer"), name="loss")
        with tf.control_dependencies([update]):
            tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        return snapshot(live)


def made_dead(graph: Graph, name: str) -> Graph:
    """The graph with a node that waits for a branch that is not taken."""
    late = next(n.name for n in graph.nodes.values() if n.op in ("AssignAdd", "Sin"))
    waits = graph[name].evolve(control_inputs=(*graph[name].control_inputs, late))
    table = {**graph.nodes, name: waits}
    return Graph(MappingProxyType(table), graph.functions, graph.versions)


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("taken", [True, False])
def test_gradients_that_wait_for_a_branch_not_taken_are_left_out(
    taken: bool, dropout: bool
) -> None:
    graph = waiting(taken, dropout=dropout)
    outcome = verify(graph, graph, feeds={"wanted:0": np.asarray(taken)})
    assert outcome.ok, outcome.to_text()
    kinds = {item.kind for item in outcome.comparisons}
    assert kinds == {"output", "variable"} | ({"gradient"} if taken else set())
    assert taken != any("no value in this step" in note for note in outcome.notes)


def test_a_fetch_that_is_named_and_has_no_value_is_an_error() -> None:
    graph = waiting(False)
    switch = next(n for n in graph.nodes.values() if n.op == "Switch")
    with pytest.raises(VerificationError, match="does not have value"):
        verify(graph, graph, feeds={"wanted:0": np.asarray(False)}, fetches=[f"{switch.name}:1"])


def test_a_gradient_that_only_the_second_graph_makes_dead_is_a_difference() -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8])
        tf.cond(tf.reduce_sum(x) > 1e9, lambda: tf.sin(x), lambda: tf.cos(x))
        loss = tf.reduce_mean(dense(x, "layer"), name="loss")
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        graph = snapshot(live)
    applied = next(n for n in graph.nodes.values() if n.op.endswith("ApplyGradientDescent"))
    outcome = verify(graph, made_dead(graph, applied.inputs[2].node))
    assert not outcome.ok
    assert "has no value in the second graph" in outcome.to_text()
    assert any(item.ok for item in outcome.comparisons if item.kind == "gradient")
