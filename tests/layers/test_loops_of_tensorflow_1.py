"""The layer calls inside ``tf.while_loop`` and ``tf.cond`` without control flow v2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr
from tests.layers.test_recompute_wrapper import Pair, Recompute, weight

tf: Any = tensorflow.compat.v1
Step = Callable[[Any, Any, bool], tuple[Any, Any]]
START = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)


def rev_block(x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    with tf.variable_scope("body", reuse=tf.AUTO_REUSE):
        f, g = _layer("f"), _layer("g")
        return gr.layers.rev_block(x1, x2, f, g, 2, is_training=ours)


def recompute_grad(x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    f = _twice(weight_outside("w"))
    return x2, (gr.layers.recompute_grad(f) if ours else f)(x1)


def told(x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    f = _twice(weight_outside("w"))

    def asks(x: Any, is_recomputing: bool = False) -> Any:
        return f(x)

    return x2, (gr.layers.recompute_grad(asks) if ours else asks)(x1)


def wrapper(x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    f = _twice(weight_outside("w"))
    return x2, (Recompute(f) if ours else f)(x1)


def pairs(x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    f, g = _twice(weight_outside("f")), _twice(weight_outside("g"))
    if ours:
        return Pair(f, g)(x1, x2)
    y1 = x1 + f(x2)
    return y1, x2 + g(y1)


def weight_outside(name: str) -> Any:
    return next(v for v in tf.global_variables() if v.op.name == name)


def _layer(name: str) -> Any:
    def run(x: Any) -> Any:
        return tf.tanh(tf.matmul(x, tf.get_variable(name, [8, 8])))

    return run


def _twice(w: Any) -> Any:
    holder = [w]
    return lambda x: tf.tanh(tf.matmul(tf.tanh(tf.matmul(x, holder[0])), holder[0]))


def loop(step: Step, x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    def body(i: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
        return (i + 1, *step(a, b, ours))

    return tf.while_loop(lambda i, a, b: i < 3, body, [0, x1, x2])[1:]


def branch(step: Step, x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    taken = tf.placeholder_with_default(True, [])
    return tf.cond(taken, lambda: step(x1, x2, ours), lambda: (x1, x2))


def loop_of_branches(step: Step, x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    return loop(lambda a, b, ours: branch(step, a, b, ours), x1, x2, ours)


pytestmark = pytest.mark.usefixtures("control_flow_v1")


@pytest.mark.parametrize("flow", [loop, branch, loop_of_branches])
@pytest.mark.parametrize("step", [rev_block, recompute_grad, told, wrapper, pairs])
def test_equals_plain_backpropagation(step: Step, flow: Any) -> None:
    plain, mine = (gradients(step, flow, ours) for ours in (False, True))
    assert_equal(mine, plain)


def gradients(step: Step, flow: Any, ours: bool) -> list[Any]:
    with tf.Graph().as_default(), tf.Session() as session:
        grads = build(step, flow, ours)
        session.run(tf.global_variables_initializer())
        assert any(op.type == "Switch" for op in tf.get_default_graph().get_operations())
        return session.run(grads)


def build(step: Step, flow: Any, ours: bool) -> list[Any]:
    """The gradients, as tensors of the default graph."""
    tf.set_random_seed(1)
    for name in ("w", "f", "g"):
        weight(name)
    x1, x2 = map(tf.constant, START)
    y1, y2 = flow(step, x1, x2, ours)
    wanted = [x1, x2, *tf.trainable_variables()]
    found = tf.gradients(tf.reduce_sum(y1 * tf.sin(y2)), wanted)
    return [grad for grad in found if grad is not None]


def assert_equal(mine: list[Any], plain: list[Any]) -> None:
    assert len(mine) == len(plain) >= 3
    for first, second in zip(mine, plain):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
