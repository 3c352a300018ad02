"""Residual pairs in branches of conds inside loops that are differentiated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphrev.analysis.frames_loops import find_frames
from graphrev.pipeline import Code
from tests.nets import dense, rewrite, tf
from tests.passes.recompute.test_branches import net, trained
from tests.passes.recompute.test_branches_in_loops import pushes

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def pairs(a: Any, b: Any, name: str, resource: bool) -> tuple[Any, Any]:
    """Two pairs of two layers each half."""
    for number in range(2):
        with tf.variable_scope(f"{name}{number}"):
            a = a + dense(dense(b, "f", resource=resource), "f2", resource=resource)
            b = b + dense(dense(a, "g", resource=resource), "g2", resource=resource)
    return a, b


def loop(x: Any, step: Any, times: int = 4) -> Any:
    def body(i: Any, a: Any, b: Any) -> Any:
        return (i + 1, *step(i, a, b))

    _, a, b = tf.while_loop(lambda i, *_: i < times, body, [0, x, x * 0.5], parallel_iterations=1)
    return a + tf.tanh(b)


def in_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    def step(i: Any, a: Any, b: Any) -> Any:
        other = tf.sin(a), b * 0.5
        return tf.cond(i < 2, lambda: pairs(a, b, "p", resource), lambda: other)

    return loop(x, step)


def in_both_branches(x: Any, flag: Any, resource: bool) -> Any:
    def step(i: Any, a: Any, b: Any) -> Any:
        ways = (lambda: pairs(a, b, "p", resource), lambda: pairs(b, a, "q", resource))
        return tf.cond(flag, *ways)

    return loop(x, step)


def between_other_layers(x: Any, flag: Any, resource: bool) -> Any:
    def yes(a: Any, b: Any) -> Any:
        a, b = pairs(tf.tanh(a), tf.sin(b), "p", resource)
        return dense(a, "after", resource=resource), tf.sigmoid(b)

    return loop(x, lambda i, a, b: tf.cond(i > 1, lambda: yes(a, b), lambda: (b, a)))


def in_a_branch_of_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    def inner(i: Any, a: Any, b: Any) -> Any:
        a = tf.tanh(a)
        return tf.cond(flag, lambda: pairs(a, b, "p", resource), lambda: (tf.sin(a), b))

    return loop(x, lambda i, a, b: tf.cond(i > 0, lambda: inner(i, a, b), lambda: (b, a * 0.5)))


def in_an_inner_loop(x: Any, flag: Any, resource: bool) -> Any:
    def step(j: Any, a: Any, b: Any) -> Any:
        return in_a_branch(tf.sin(a), flag, resource), b * 0.5

    return loop(x, step, times=2)


NETS = [
    in_a_branch,
    in_both_branches,
    between_other_layers,
    in_a_branch_of_a_branch,
    in_an_inner_loop,
]


@pytest.mark.parametrize("build", NETS)
def test_block_in_a_branch_of_a_loop_trains_as_before(build: Any) -> None:
    graph = net(build)
    outcome, plan = rewrite(graph)
    assert plan.loops, [r.reason for r in plan.rejections]
    assert not any(block.carried for block in plan.loops)
    assert pushes(outcome.after) <= pushes(graph) / 2
    assert find_frames(outcome.after).faults == ()
    expected = trained(graph)
    for left, right in zip(expected, trained(outcome.after)):
        assert np.linalg.norm(left - right) <= 5e-5 * np.linalg.norm(left) + 1e-9
    saved, _ = rewrite(graph, anchor_every=1)  # where every state is saved no rounding is left
    for left, right in zip(expected, trained(saved.after)):
        np.testing.assert_array_equal(left, right)
    again, _ = rewrite(outcome.after)
    assert again.after is outcome.after


def test_reference_variables_that_an_optimizer_writes_are_refused_and_nothing_changes() -> None:
    graph = net(in_a_branch, resource=False)
    outcome, plan = rewrite(graph)
    assert outcome.after is graph
    assert Code.VARIABLE_CHANGES in {rejection.code for rejection in plan.rejections}
