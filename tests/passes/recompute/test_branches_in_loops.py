"""Regions in branches of conds inside loops that are differentiated."""

from __future__ import annotations

from typing import Any

import pytest

from graphrev.analysis.frames_loops import find_frames
from graphrev.ir import Graph
from tests.nets import dense, tf
from tests.passes.recompute.nets import rewrite
from tests.passes.recompute.test_branches import (
    Build,
    assert_trains_to_the_same_bits,
    net,
    part,
    recompute_scope,
)

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def loop(x: Any, step: Any, times: int = 4) -> Any:
    def body(i: Any, h: Any) -> Any:
        return i + 1, step(i, h)

    return tf.while_loop(lambda i, _: i < times, body, [0, x], parallel_iterations=1)[1]


def in_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    return loop(x, lambda i, h: tf.cond(i < 2, lambda: part(h, "a", resource), lambda: tf.sin(h)))


def in_both_branches(x: Any, flag: Any, resource: bool) -> Any:
    def step(i: Any, h: Any) -> Any:
        return tf.cond(flag, lambda: part(h, "a", resource), lambda: part(h, "b", resource))

    return loop(x, step)


def two_in_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    def step(i: Any, h: Any) -> Any:
        return tf.cond(i > 0, lambda: part(part(h, "a", resource), "b", resource), lambda: h * 0.5)

    return loop(x, step)


def in_a_branch_of_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    def inner(i: Any, h: Any) -> Any:
        h = dense(h, "first", resource=resource)
        return tf.cond(i < 3, lambda: part(h, "a", resource), lambda: tf.tanh(h))

    return loop(x, lambda i, h: tf.cond(i > 0, lambda: inner(i, h), lambda: tf.sin(h)))


def without_iterations(x: Any, flag: Any, resource: bool) -> Any:
    def step(i: Any, h: Any) -> Any:
        return tf.cond(flag, lambda: part(h, "a", resource), lambda: tf.sin(h))

    return loop(x, step, times=0) + part(x, "c", resource)


def in_an_inner_loop(x: Any, flag: Any, resource: bool) -> Any:
    return loop(x, lambda j, h: in_a_branch(tf.sin(h) + 0.1, flag, resource), times=2)


def from_a_value_nobody_saved(x: Any, flag: Any, resource: bool) -> Any:
    """The gradient of the first op reads what it returns, and not what it reads."""

    def yes(h: Any) -> Any:
        with recompute_scope("a"):
            h = tf.tanh(h)
            return dense(dense(tf.tanh(h * 2.0), "f", resource=resource), "g", resource=resource)

    return loop(x, lambda i, h: tf.cond(i < 2, lambda: yes(h + 1.0), lambda: tf.sin(h)))


NETS = [
    in_a_branch,
    in_both_branches,
    two_in_a_branch,
    in_a_branch_of_a_branch,
    from_a_value_nobody_saved,
]


def pushes(graph: Graph) -> int:
    return sum(node.op == "StackPushV2" for node in graph.nodes.values())


@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("build", NETS)
def test_region_in_a_branch_of_a_loop_trains_to_the_same_bits(build: Build, resource: bool) -> None:
    graph = net(build, resource)
    outcome, plan = rewrite(graph)
    assert plan.loops, [r.reason for r in plan.rejections]
    assert plan.rejections == ()
    assert pushes(outcome.after) < pushes(graph)
    assert find_frames(outcome.after).faults == ()
    assert_trains_to_the_same_bits(graph, outcome.after)
    again, _ = rewrite(outcome.after)
    assert again.after is outcome.after


def test_region_in_a_branch_of_an_inner_loop_trains_to_the_same_bits() -> None:
    graph = net(in_an_inner_loop)
    outcome, plan = rewrite(graph)
    (loop_plan,) = plan.loops
    assert "while/while" in loop_plan.frame
    assert pushes(outcome.after) < pushes(graph)
    assert_trains_to_the_same_bits(graph, outcome.after)


def test_a_loop_that_does_not_run_trains_as_before() -> None:
    graph = net(without_iterations)
    outcome, plan = rewrite(graph)
    assert plan.loops and plan.regions
    assert_trains_to_the_same_bits(graph, outcome.after)


def test_without_grappler_too() -> None:
    for build in (in_both_branches, in_a_branch_of_a_branch):
        graph = net(build)
        assert_trains_to_the_same_bits(graph, rewrite(graph)[0].after, grappler=False)


def test_what_a_region_draws_is_not_drawn_again() -> None:
    def dropped(h: Any, resource: bool) -> Any:
        with recompute_scope("a"):
            h = dense(dense(h, "f", resource=resource), "g", resource=resource)
            return dense(tf.nn.dropout(h, rate=0.4, seed=3), "h", resource=resource)

    def forward(x: Any, flag: Any, resource: bool) -> Any:
        return loop(x, lambda i, h: tf.cond(i < 2, lambda: dropped(h, resource), lambda: h))

    graph = net(forward)
    outcome, plan = rewrite(graph)
    drawn = [node for node in outcome.after.nodes.values() if node.op == "RandomUniform"]
    assert len(drawn) == sum(node.op == "RandomUniform" for node in graph.nodes.values())
    assert plan.loops or plan.rejections
    assert_trains_to_the_same_bits(graph, outcome.after)
