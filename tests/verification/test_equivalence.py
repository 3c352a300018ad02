from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev.api import verify
from graphrev.errors import InvalidGraphError, UsageError, VerificationError
from graphrev.ir import Graph, Node, Shape, TensorRef
from tests.nets import dense, rewrite, snapshot, tf, training


def changed(graph: Graph, **nodes: Node) -> Graph:
    """The graph with nodes put in the place of others, or added."""
    table = {**graph.nodes, **{n.name: n for n in nodes.values()}}
    return Graph(MappingProxyType(table), graph.functions, graph.versions)


def without(graph: Graph, *names: str) -> Graph:
    gone = set(names)
    kept = {
        name: node.evolve(control_inputs=tuple(c for c in node.control_inputs if c not in gone))
        if gone & set(node.control_inputs)
        else node
        for name, node in graph.nodes.items()
        if name not in gone
    }
    return Graph(MappingProxyType(kept), graph.functions, graph.versions)


def updates(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes.values() if n.op == "ResourceApplyGradientDescent"]


def wrong_kinds(before: Graph, after: Graph, **options: Any) -> set[str]:
    outcome = verify(before, after, **options)
    assert not outcome.ok
    assert not outcome
    assert outcome.to_text().startswith("NOT EQUAL")
    assert "differs: " in outcome.to_text()
    assert outcome.to_json()["equal"] is False
    return {item.kind for item in outcome.comparisons if not item.ok}


def test_graph_equals_itself_exactly() -> None:
    graph = training()
    outcome = verify(graph, graph)
    assert outcome.ok
    assert {c.kind for c in outcome.comparisons} == {"output", "gradient", "variable"}
    assert all(c.error == 0.0 for c in outcome.comparisons)
    assert outcome.drifts == ()


def test_every_gradient_and_variable_is_compared() -> None:
    graph = training()
    compared = verify(graph, graph).comparisons
    variables = {n.name for n in graph.nodes.values() if n.op == "VarHandleOp"}
    assert {c.name for c in compared if c.kind == "variable"} >= variables
    gradients = [c for c in compared if c.kind == "gradient" and not c.name.startswith("all ")]
    assert len(gradients) == len(variables) == 10
    assert "loss:0" in {c.name for c in compared if c.kind == "output"}


def test_equal_rewrite_is_accepted_and_its_drift_reported() -> None:
    graph = training(pairs=3)
    outcome = verify(graph, rewrite(graph)[0].after)
    assert outcome.ok, outcome.to_text()
    (drift,) = outcome.drifts
    assert 0 < drift.error <= drift.allowed < 1e-3
    assert drift.streams > 0
    assert "drift of rebuilt streams" in outcome.reason
    assert f"block {drift.block}: drift" in outcome.to_text()


def test_wrong_gradient_is_found() -> None:
    graph = training()
    grad = graph["gradients/pair0/f/Tanh_grad/TanhGrad"]
    crossed = grad.evolve(inputs=(graph["gradients/pair0/g/Tanh_grad/TanhGrad"].inputs[0],
                                  grad.inputs[1]))  # fmt: skip
    assert wrong_kinds(graph, changed(graph, a=crossed)) == {"gradient", "variable"}


def test_wrong_loss_is_found_and_right_gradients_are_not_blamed() -> None:
    graph = training()
    doubled = Node("loss", "AddV2", (TensorRef("inner"),) * 2, attrs=graph["loss"].attrs)
    inner = graph["loss"].evolve(name="inner")
    attrs = {key: value for key, value in doubled.attrs.items() if key == "T"}
    after = changed(graph, inner=inner, loss=doubled.evolve(attrs=MappingProxyType(attrs)))
    assert wrong_kinds(graph, after) == {"output"}


def test_missing_variable_update_is_found() -> None:
    graph = training()
    assert wrong_kinds(graph, without(graph, updates(graph)[0])) == {"variable"}


def test_missing_update_of_a_named_training_op_is_found() -> None:
    graph = training()
    train = graph["train"].evolve(control_inputs=graph["train"].control_inputs[1:])
    assert "variable" in wrong_kinds(graph, changed(graph, train=train), fetches=["train"])


def test_doubled_update_is_found() -> None:
    graph = training()
    name = updates(graph)[0]
    twice = graph[name].evolve(name="again", control_inputs=(name,))
    assert wrong_kinds(graph, changed(graph, again=twice)) == {"variable"}
    train = graph["train"].evolve(control_inputs=(*graph["train"].control_inputs, "again"))
    after = changed(graph, again=twice, train=train)
    assert "variable" in wrong_kinds(graph, after, fetches=["train"])


def test_swapped_outputs_are_found() -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        tf.tanh(dense(x, "f"), name="a")
        tf.sigmoid(dense(x, "g"), name="b")
        graph = snapshot(live)
    a, b = graph["a"], graph["b"]
    after = changed(graph, a=a.evolve(inputs=b.inputs), b=b.evolve(inputs=a.inputs))
    assert wrong_kinds(graph, after) == {"output"}
    outcome = verify(graph, after)
    wrong = {c.name for c in outcome.comparisons if not c.ok and not c.name.startswith("all ")}
    assert wrong == {"a:0", "b:0"}


def outputs(build: Callable[[Any], Any]) -> Graph:
    with tf.Graph().as_default() as live:
        tf.identity(build(tf.placeholder(tf.float32, [4, 8], "x")) * 1.0, name="kept")
        tf.multiply(live.get_tensor_by_name("kept:0"), 1.0, name="out")
        return snapshot(live)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (lambda x: x / 0.0, lambda x: x / 0.0, True),
        (lambda x: tf.log(x), lambda x: tf.log(x), True),
        (lambda x: tf.log(x), lambda x: tf.log(tf.abs(x)), False),
        (lambda x: x / 0.0, lambda x: -x / 0.0, False),
        (lambda x: x * 0.0, lambda x: x * np.nan, False),
        (lambda x: x * 0.0, lambda x: x * 0.0, True),
        (lambda x: x * 0.0, lambda x: x * 1e-30, False),
        (lambda x: x + 1.0, lambda x: tf.concat([x, x], 0) + 1.0, False),
        (lambda x: x, lambda x: x * (1 + 1e-6), True),
        (lambda x: x, lambda x: x * (1 + 1e-3), False),
    ],
)
def test_values_that_are_no_numbers_must_be_the_same_ones(
    before: Callable[[Any], Any], after: Callable[[Any], Any], same: bool
) -> None:
    assert verify(outputs(before), outputs(after), fetches=["out"]).ok is same


def test_tolerance_may_be_given_and_is_said() -> None:
    before, after = outputs(lambda x: x), outputs(lambda x: x * 1.001)
    strict = verify(before, after, fetches=["out"])
    assert not strict.ok
    assert "64 epsilons, for sums in another order" in strict.to_text()
    loose = verify(before, after, fetches=["out"], rtol=0.01)
    assert loose.ok
    assert loose.to_text().startswith("equal (rtol 0.01: given by the caller)")
    exact = verify(before, before, fetches=["out"], rtol=0.0, atol=0.0)
    assert exact.ok


def test_random_numbers_are_the_same_in_both_graphs() -> None:
    graph = outputs(lambda x: tf.nn.dropout(x, rate=0.5))
    assert verify(graph, graph, fetches=["out"]).ok
    again = {verify(graph, graph, fetches=["out"], seed=s).ok for s in range(3)}
    assert again == {True}


# --- feeds --------------------------------------------------------------------------------------


def test_feeds_are_arrays_or_shapes() -> None:
    graph = training(shape=(None, 8))
    for feeds in ({"x": np.ones((3, 8), np.float32)}, {"x:0": Shape((5, 8))}, {"x": [2, 8]}, {}):
        assert verify(graph, graph, feeds=feeds).ok


@pytest.mark.parametrize(
    ("feeds", "error", "message"),
    [
        ({"x": Shape((3, 5))}, UsageError, r"Shape \[3,5\] does not fit 'x:0', whose shape is"),
        ({"x": Shape((3,))}, UsageError, "does not fit 'x:0'"),
        ({"x": np.ones((3, 5), np.float32)}, VerificationError, "shape"),
        ({"y": Shape((3, 5))}, UsageError, "There is no tensor 'y' to feed"),
        ({"y": np.ones(3)}, UsageError, "There is no tensor 'y' to feed"),
        ({"x:1": np.ones((4, 8))}, UsageError, "x:1"),
        ({"x": np.array([["a"] * 8] * 4)}, VerificationError, "cannot be run"),
    ],
)
def test_feed_that_does_not_fit_is_refused(
    feeds: dict[str, Any], error: type[Exception], message: str
) -> None:
    graph = training(shape=(None, 8))
    with pytest.raises(error, match=message):
        verify(graph, graph, feeds=feeds)


def test_placeholder_of_unknown_rank_asks_for_a_shape() -> None:
    with tf.Graph().as_default() as live:
        tf.tanh(tf.placeholder(tf.float32, name="x") + 1.0, name="out")
        graph = snapshot(live)
    with pytest.raises(VerificationError, match="shape of 'x:0' is unknown"):
        verify(graph, graph)
    assert verify(graph, graph, feeds={"x": Shape((2, 3))}).ok


def test_fetch_that_one_graph_lacks_is_refused() -> None:
    graph = training()
    with pytest.raises(UsageError, match="There is no 'nothing' in the first graph to fetch"):
        verify(graph, graph, fetches=["nothing"])
    with pytest.raises(UsageError, match="no 'train' in the second graph"):
        verify(graph, without(graph, "train"), fetches=["train"])
    with pytest.raises(UsageError, match="'loss' has no output 3 in the first graph"):
        verify(graph, graph, fetches=["loss:3"])


def test_nothing_to_compare_is_an_error_not_a_success() -> None:
    graph = Graph.of([Node("a", "NoOp")], versions=training().versions)
    with pytest.raises(VerificationError, match="nothing to compare"):
        verify(graph, graph)


def test_invalid_graph_is_refused() -> None:
    graph = training()
    broken = changed(graph, x=Node("bad", "Neg", (TensorRef("gone"),)))
    with pytest.raises(InvalidGraphError, match="gone"):
        verify(graph, broken)


def test_graph_tensorflow_refuses_is_named() -> None:
    graph = training()
    odd = changed(graph, loss=graph["loss"].evolve(op="SomebodysMean"))
    with pytest.raises(VerificationError, match="TensorFlow refuses the second graph"):
        verify(graph, odd)


def test_variables_may_be_given() -> None:
    graph = training()
    values = {
        n.name: np.zeros(n.attrs["shape"].dims, np.float32)  # type: ignore[union-attr]
        for n in graph.nodes.values()
        if n.op == "VarHandleOp"
    }
    assert verify(graph, graph, variables=values).notes == ()
    assert "uniform noise" in verify(graph, graph).notes[0]
    with pytest.raises(VerificationError, match="cannot be run"):
        verify(graph, graph, variables={})


def test_recorded_shapes_that_tensorflow_disagrees_with_do_not_matter() -> None:
    """TensorFlow 1.15 recorded other shapes of some gradient ops than 2.x infers."""
    graph = training()
    recorded = (Shape((7,)),)
    after = Graph.of(
        node.with_attr("_output_shapes", recorded) if node.op == "Tanh" else node
        for node in graph.nodes.values()
    )
    assert verify(after, after).ok


def test_devices_that_are_not_here_do_not_matter_in_functions_either() -> None:
    """Found by tools/programs, seed 109."""

    def gate(a: Any) -> Any:
        with tf.device("/job:worker"):
            return tf.sigmoid(a) * a

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4], name="x")
        tf.reduce_sum(tensorflow.function(gate, autograph=False)(x), name="loss")
    outcome = verify(graph, graph, fetches=["loss"])
    assert outcome.ok and "/job:worker" in str(graph.as_graph_def().library)


@pytest.mark.parametrize("taken", [True, False])
def test_a_branch_that_is_not_taken_is_not_fetched(taken: bool) -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder_with_default(tf.ones([4, 8]), [4, 8], "x")
        wanted = tf.placeholder_with_default(taken, [], "wanted")
        control_flow_v2 = tf.control_flow_v2_enabled()
        tf.disable_control_flow_v2()
        y = dense(x, "layer")
        y = tf.cond(wanted, lambda: (tf.tanh(y), tf.square(y))[0], lambda: tf.sin(y))
        if control_flow_v2:
            tf.enable_control_flow_v2()
        tf.train.GradientDescentOptimizer(0.1).minimize(
            tf.reduce_mean(y, name="loss"), name="train"
        )
        graph = snapshot(live)
    outcome = verify(graph, graph, feeds={"wanted:0": np.asarray(taken)})
    assert outcome.ok, outcome.to_text()
    assert {item.kind for item in outcome.comparisons} == {"output", "gradient", "variable"}


def updated_by_hand(resource: bool, scale: float = 1.0) -> Graph:
    """Momentum in plain arithmetic: no optimizer op, and nothing names a training op."""
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        y = dense(dense(x, "one", resource=resource), "two", resource=resource)
        loss = tf.reduce_mean(tf.square(y), name="loss")
        variables = tf.trainable_variables()
        gradients = tf.tuple(tf.gradients(loss, variables))
        for variable, gradient in zip(variables, gradients):
            name = variable.op.name
            speed = tf.get_variable(f"{name}/speed", variable.shape, use_resource=resource)
            moved = 0.9 * speed + tf.multiply(gradient, scale, name=f"{name}/scaled")
            speed.assign(moved)
            variable.assign(variable - 0.1 * moved)
        return snapshot(live)


@pytest.mark.parametrize("resource", [True, False])
def test_updates_of_plain_arithmetic_are_compared_with_their_gradients(resource: bool) -> None:
    graph = updated_by_hand(resource)
    found = verify(graph, graph)
    assert found.ok
    assert {item.kind for item in found.comparisons} == {"output", "gradient", "variable"}
    wrong = verify(graph, updated_by_hand(resource, scale=1.01))
    assert not wrong.ok


def test_it_is_said_where_outputs_alone_are_compared() -> None:
    with tf.Graph().as_default() as live:
        dense(tf.placeholder(tf.float32, [4, 8], "x"), "one")
        graph = snapshot(live)
    found = verify(graph, graph)
    assert found.ok
    assert "outputs alone were compared: nothing in the graph is trained" in found.notes
