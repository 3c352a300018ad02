"""A graph for every rejection code: the near miss is named and the graph left as it was."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

import graphrev
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.marks import PAIR_ATTR
from graphrev.passes.reversible import region
from graphrev.pipeline import EXPLANATIONS, Code
from tests.nets import dense, rewrite, snapshot, tf, training


def replaced(graph: Graph, name: str, **changes: Any) -> Graph:
    """The graph with one node changed by hand."""
    nodes = dict(graph.nodes)
    nodes[name] = nodes[name].evolve(**changes)
    return Graph(MappingProxyType(nodes), graph.functions, graph.versions)


def reads_own_input() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        y1 = x1 + dense(tf.concat([x1, x2], 1), "f", 8)
        y2 = x2 + dense(y1, "g")
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2))
        return snapshot(graph), {}


def shape_changes() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        h = dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem")
        x1, x2 = dense(h, "narrow", 1), dense(h, "wide")
        with graphrev.residual_pair():
            y1 = x1 + dense(x2, "f")
            y2 = x2 + dense(y1, "g")
        graphrev.mark_residual_pair(x1, x2, y1, y2)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2))
        return snapshot(graph), {"detect": "marked"}


def shape_unknown() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x1, x2 = (tf.placeholder(tf.float32, name=name) for name in ("x1", "x2"))
        w = tf.get_variable("w", [8, 8], use_resource=True)
        y1 = x1 + tf.tanh(x2 * tf.reduce_sum(w))
        y2 = x2 + tf.tanh(y1 * tf.reduce_sum(w))
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2))
        return snapshot(graph), {}


def integer_dtype() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x1, x2 = (tf.placeholder(tf.int32, [4], name) for name in ("x1", "x2"))
        y1 = x1 + x2 * x2
        tf.identity(x2 + y1 * y1)
        return snapshot(graph), {}


def stateful_op() -> tuple[Graph, dict[str, Any]]:
    def counts(x: Any, name: str) -> Any:
        with tf.variable_scope(name):
            seen = tf.get_variable("seen", [], initializer=tf.zeros_initializer, use_resource=False)
        return dense(x + tf.stop_gradient(tf.assign_add(seen, tf.reduce_mean(x))), name)

    return training(f=counts), {}


def random_op() -> tuple[Graph, dict[str, Any]]:
    def shuffles(x: Any, name: str) -> Any:
        order = tf.random_shuffle(tf.range(tf.shape(x)[1]))
        return dense(x * tf.cast(order, tf.float32), name)

    return training(f=shuffles), {"random": "stateless"}


def fed() -> tuple[Graph, dict[str, Any]]:
    return training(), {"fed": ("pair0/f/Tanh:0",)}


def fetched() -> tuple[Graph, dict[str, Any]]:
    return training(), {"fetched": ("pair0/y1:0",)}


def compared() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x = dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem")
        x1, x2 = tf.nn.relu(x), tf.nn.relu(-x)
        for number in range(2):
            with tf.variable_scope(f"pair{number}"):
                x1 = x1 + dense(x2, "f")
                x2 = x2 + dense(x1, "g")
        loss = tf.reduce_mean(tf.square(x1 + 0.5 * x2))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        return snapshot(graph), {}


def no_backward_readers() -> tuple[Graph, dict[str, Any]]:
    return training(differentiate=False), {"forward": "reject"}


def already_rewritten() -> tuple[Graph, dict[str, Any]]:
    return rewrite(training())[0].after, {}


def overlap() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        y1 = x1 + dense(x2, "f")
        y2 = x2 + dense(y1, "g")
        other = x1 + dense(x2, "f_other")
        z2 = x2 + dense(other, "g_other")
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2 * other * z2))
        return snapshot(graph), {}


def crosses_frame() -> tuple[Graph, dict[str, Any]]:
    tf.disable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        w = tf.get_variable("w", [8, 8], use_resource=True)

        def looped(v: Any) -> Any:
            return tf.while_loop(lambda u: tf.reduce_sum(u) < 9, lambda u: tf.matmul(u, w) + 1, [v])

        x1, x2 = x * 3.0, x * 2.0
        a = x1 + looped(x2)
        b = x2 + tf.tanh(a)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(a * b))
        return snapshot(graph), {}


def opted_out() -> tuple[Graph, dict[str, Any]]:
    return training(mark=graphrev.no_rewrite), {}


def incomplete_mark() -> tuple[Graph, dict[str, Any]]:
    graph = training()
    attrs = {**graph["pair0/y1"].attrs, PAIR_ATTR: (b"half|y1|0",)}
    return replaced(graph, "pair0/y1", attrs=attrs), {"detect": "marked"}


def not_a_pair() -> tuple[Graph, dict[str, Any]]:
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        y1 = x1 * dense(x2, "f")
        y2 = x2 + dense(y1, "g")
        graphrev.mark_residual_pair(x1, x2, y1, y2)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2))
        return snapshot(graph), {"detect": "marked"}


def trigger_cycle() -> tuple[Graph, dict[str, Any]]:
    """Something that watches the second pair's backward pass waits for the first pair's."""
    graph = training(pairs=3)
    watched = (TensorRef("pair1/f/Tanh"), TensorRef("gradients/pair1/f/Tanh_grad/TanhGrad"))
    early = ("gradients/pair0/g/MatMul_grad/MatMul_1",)
    watcher = Node("watcher", "Mul", watched, early, attrs=graph["pair1/f/Tanh"].attrs)
    nodes = {**graph.nodes, "watcher": watcher}
    return Graph(MappingProxyType(nodes), graph.functions, graph.versions), {}


def variable_changes() -> tuple[Graph, dict[str, Any]]:
    """Another loss updates f's reference variable before this loss is differentiated."""
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        y1 = x1 + dense(x2, "f", resource=False)
        y2 = x2 + dense(y1, "g", resource=False)
        weights = [v for v in tf.trainable_variables() if v.name.startswith("f/")]
        penalty = tf.reduce_sum(tf.tanh(weights[0]) ** 2) + 0.0 * tf.reduce_sum(y2)
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        first = optimizer.minimize(penalty, var_list=weights[:1])
        with tf.control_dependencies([first]):
            seed = tf.ones_like(y1) * 1.0
        grads = tf.gradients([y1, y2], tf.trainable_variables(), grad_ys=[seed, seed])
        optimizer.apply_gradients(zip(grads, tf.trainable_variables()))
        return snapshot(graph), {}


def drift() -> tuple[Graph, dict[str, Any]]:
    return training(pairs=3), {"anchor_every": 3, "max_drift": 1e-9}


def region_too_large() -> tuple[Graph, dict[str, Any]]:
    return training(), {}


def unknown_op() -> tuple[Graph, dict[str, Any]]:
    graph = training(mark=graphrev.residual_pair)
    return replaced(graph, "pair0/f/Tanh", op="SomebodysTanh"), {"detect": "marked"}


CASES: dict[Code, Callable[[], tuple[Graph, dict[str, Any]]]] = {
    Code.READS_OWN_INPUT: reads_own_input,
    Code.SHAPE_CHANGES: shape_changes,
    Code.SHAPE_UNKNOWN: shape_unknown,
    Code.DTYPE: integer_dtype,
    Code.STATEFUL_OP: stateful_op,
    Code.RANDOM_OP: random_op,
    Code.FED: fed,
    Code.FETCHED: fetched,
    Code.COMPARED: compared,
    Code.NO_BACKWARD_READERS: no_backward_readers,
    Code.ALREADY_REWRITTEN: already_rewritten,
    Code.OVERLAP: overlap,
    Code.CROSSES_FRAME: crosses_frame,
    Code.OPTED_OUT: opted_out,
    Code.INCOMPLETE_MARK: incomplete_mark,
    Code.NOT_A_PAIR: not_a_pair,
    Code.TRIGGER_CYCLE: trigger_cycle,
    Code.VARIABLE_CHANGES: variable_changes,
    Code.DRIFT: drift,
    Code.REGION_TOO_LARGE: region_too_large,
    Code.UNKNOWN_OP: unknown_op,
}


def test_every_code_has_a_case() -> None:
    from tests.passes.mask.test_rejections import CASES as MASK_CASES
    from tests.passes.shrink.test_left_alone import CASES as SHRINK_CASES

    norms = {Code.NORM_KEPT}  # tests/passes/shrink/test_norms.py
    shrinking = {code for _, code, _ in SHRINK_CASES.values()} | {Code.CHANNELS_KEPT, *norms}
    policies = {Code.NO_GRADIENT, Code.NO_BATCH_NORM}  # tests/passes/mask/test_criteria.py
    elsewhere = {*MASK_CASES, *shrinking, *policies, Code.MASK_ALTERED, Code.FUNCTION_BROKEN}
    assert set(CASES) | elsewhere == set(Code) == set(EXPLANATIONS)


@pytest.mark.parametrize("code", CASES, ids=lambda code: code.value)
def test_code_is_given_with_its_nodes(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, options = CASES[code]()
    if code is Code.REGION_TOO_LARGE:
        monkeypatch.setattr(region, "BUDGET", 3)
    outcome, plan = rewrite(graph, **options)
    given = [r for r in plan.rejections if r.code is code]
    assert given, [(r.code.value, r.reason) for r in plan.rejections]
    assert all(name in graph for r in given for name in r.nodes)
    assert all(r.nodes and r.reason.endswith(".") for r in given)
    if code is not Code.FETCHED and not plan.blocks:
        assert outcome.after is graph


def test_moving_averages_are_not_named_as_pairs_that_were_missed() -> None:
    with tf.Graph().as_default() as graph:
        h = dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", resource=False)
        zeros = tf.zeros_initializer()
        moving = tf.get_variable("moving", [8], initializer=zeros, use_resource=False)
        mean = tf.reduce_mean(h * moving, 0)
        tf.assign_sub(moving, (moving - mean) * 0.1)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(h))
        before = snapshot(graph)
    _, plan = rewrite(before)
    assert plan.rejections == ()
