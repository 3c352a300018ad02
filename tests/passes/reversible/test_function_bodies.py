"""Bodies that hold a whole training step, functions called from two places, and unfit libraries."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
import tensorflow

import graphrev
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import FunctionRef, Graph, Node
from graphrev.passes import Recompute
from graphrev.pipeline import Code, run
from tests.passes.reversible.function_nets import (
    assert_same,
    build,
    ops_in_functions,
    pair,
    rewrite,
    tf,
    weight,
)

CLONE = "_graphrev_clone_of"


def gradient_inside(x: Any, _: Any = None) -> Any:
    a, b = pair(*pair(x, tf.sin(x)), name="g")
    return tf.gradients(tf.reduce_mean(tf.square(a) + b), [x])


def in_a_function(x: Any, n: Any) -> Any:
    return [tensorflow.function(gradient_inside)(x)[0]]


def in_a_loop(x: Any, n: Any) -> Any:
    def body(i: Any, a: Any) -> Any:
        return i + 1, a - 0.1 * gradient_inside(a)[0]

    return [tf.while_loop(lambda i, _: i < n, body, [0, x], back_prop=False)[1]]


def undifferentiated(forward: Any) -> tuple[Graph, tuple[str, ...]]:
    """A graph of ``forward`` alone: what it holds of gradients is inside its functions."""
    graph, names = build(lambda x, n: [tf.stop_gradient(out) for out in forward(x, n)])
    return graph, names[:1]


def copies(graph: Graph) -> int:
    nodes = (node for f in graph.functions.values() for node in f.nodes.values())
    return sum(CLONE in node.attrs for node in nodes)


@pytest.mark.parametrize("forward", [in_a_function, in_a_loop])
def test_a_training_step_inside_a_body_is_rewritten_where_it_stands(forward: Any) -> None:
    before, names = undifferentiated(forward)
    done, plan = rewrite(before)
    assert plan.functions and copies(done.after) > 0
    assert set(done.after.functions) == set(before.functions)
    assert_same(before, done.after, names, (5, 1))


def test_a_defun_is_rewritten_where_it_stands() -> None:
    from tensorflow.python.framework import function

    @function.Defun(tf.float32, tf.float32, tf.float32)
    def step(x: Any, w: Any, v: Any) -> Any:
        first, second = tf.sin(x), tf.tanh(tf.matmul(x, w))
        a = first + tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(second, w)), w))
        b = second + tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(a, v)), v))
        c = a + tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(b, w)), w))
        return tf.gradients(tf.reduce_mean(tf.square(b) + c), x)[0]

    before, names = undifferentiated(lambda x, n: [step(x, weight("w"), weight("v"))])
    done, plan = rewrite(before)
    assert plan.functions and copies(done.after) > 0
    assert_same(before, done.after, names)


def test_a_call_that_opts_out_keeps_the_function_and_the_other_gets_a_copy() -> None:
    function = tensorflow.function(gradient_inside)

    def twice(x: Any, n: Any) -> Any:
        first = function(x)[0]
        with graphrev.no_rewrite():
            second = function(x * 2.0)[0]
        return [first, second]

    before, names = undifferentiated(twice)
    done, _ = rewrite(before)
    calls = [n for n in done.after.nodes.values() if n.op.endswith("PartitionedCall")]
    assert len({str(node.attrs["f"]) for node in calls}) == 2
    assert len({str(n.attrs["f"]) for n in before.nodes.values() if "f" in n.attrs}) == 1
    assert set(before.functions) < set(done.after.functions)
    assert_same(before, done.after, names)


def looped(x: Any, n: Any) -> Any:
    return tf.while_loop(lambda i, *_: i < n, lambda i, *ab: (i + 1, *pair(*ab)), [0, x, x])[1:]


def test_a_body_that_another_loop_runs_too_stays_for_that_loop() -> None:
    before, names = build(looped)
    first = next(node for node in before.nodes.values() if node.op == "While")
    twin = first.evolve(name="other")
    both = replace(before, nodes=MappingProxyType({**before.nodes, "other": twin}))
    done, _ = rewrite(both)
    assert done.after["other"] is twin
    assert str(done.after[first.name].attrs["body"]) != str(twin.attrs["body"])
    assert_same(both, done.after, [*names, "other:3"])


def test_a_missing_function_is_named_and_nothing_that_calls_it_changes() -> None:
    before, _ = build(looped)
    first = next(node for node in before.nodes.values() if node.op == "While")
    body = first.attrs["body"]
    assert isinstance(body, FunctionRef)
    left = {name: f for name, f in before.functions.items() if name != body.name}
    broken = replace(before, functions=MappingProxyType(left))
    serialized = encode_graph(broken)
    for outcome in (rewrite(broken)[0], run(broken, [Recompute(frames="while")])):
        refused = [r for r in outcome.steps[0].plan.rejections if r.code is Code.FUNCTION_BROKEN]
        assert [r.nodes for r in refused] == [(first.name,)]
        assert body.name in refused[0].reason
        assert outcome.after is broken and encode_graph(outcome.after) == serialized


def test_a_function_that_calls_itself_is_named_and_left_alone() -> None:
    before, _ = build(in_a_function)
    called = next(n.attrs["f"] for n in before.nodes.values() if n.op == "StatefulPartitionedCall")
    assert isinstance(called, FunctionRef)
    name, function = called.name, before.functions[called.name]
    call = Node("again", "PartitionedCall", attrs=MappingProxyType({"f": FunctionRef(name)}))
    nodes = MappingProxyType({**function.nodes, "again": call})
    changed = {**before.functions, name: replace(function, nodes=nodes, raw=None)}
    broken = replace(before, functions=MappingProxyType(changed))
    serialized = encode_graph(broken)
    outcome, plan = rewrite(broken)
    refused = [r for r in plan.rejections if r.code is Code.FUNCTION_BROKEN]
    assert refused and "calls itself" in refused[0].reason and refused[0].nodes == ("again",)
    for after in (outcome.after, run(broken, [Recompute()]).after):
        assert after is broken and encode_graph(after) == serialized


def test_live_graphs_keep_their_functions_and_the_report_says_so() -> None:
    tf.enable_control_flow_v2()
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8])
        tf.gradients(tf.reduce_sum(tf.square(looped(x, 3)[0])), x)
    done = graphrev.rewrite(live, [graphrev.passes.Reversible(detect="structural")])
    assert not done.changed
    (step,) = done.report.run.steps
    assert {r.code for r in step.plan.rejections} == {Code.CROSSES_FRAME}
    assert "functions=keep" in step.plan.rejections[0].reason


def test_the_rewritten_library_survives_the_file() -> None:
    done, _ = rewrite(build(looped)[0])
    again = decode_graph(encode_graph(done.after))
    assert encode_graph(again) == encode_graph(done.after)
    assert ops_in_functions(again) == ops_in_functions(done.after)
