"""Small programs, one for a statement of seed-systems.md section 4; each returns what it sees."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow
from tensorflow.python.eager import backprop

from graphrev.errors import GraphrevError
from graphrev.layers import AbstractRecomputeWrapper
from tests.layers import test_recompute_wrapper as programs
from tests.layers.test_recompute_wrapper import Base, Recompute, assert_same, dense, weight, x_of

tf: Any = tensorflow.compat.v1


def parameters(method: str) -> Any:
    return list(inspect.signature(getattr(AbstractRecomputeWrapper, method)).parameters)


def raised(call: Callable[[], Any]) -> Any:
    """The type of error (without graphrev's own name for it) that a call ends in."""
    try:
        call()
    except Exception as error:  # the row says which one is meant
        builtin = (ValueError, RuntimeError, AssertionError, TypeError)
        return next((kind for kind in builtin if isinstance(error, kind)), type(error))
    return None


class Seen(Recompute):
    """Notes what it is called with."""

    def __init__(self, block: Any = tf.tanh) -> None:
        super().__init__(block)
        self.asked: dict[str, Any] = {}

    def _gradient(self, grad_ys: Any, rev_ys: Any, **keywords: Any) -> Any:
        self.asked = {"grad_ys": grad_ys, "rev_ys": rev_ys, **keywords}
        return super()._gradient(grad_ys, rev_ys, **keywords)


def seen(block: Any = tf.tanh) -> dict[str, Any]:
    layer, x = Seen(block), x_of()
    tf.gradients(layer(x), x)
    return layer.asked


def leaves_of_nested_arguments() -> Any:
    got: list[Any] = []

    class Nested(Base):
        def call(self, *args: Any) -> Any:
            got.extend(tensorflow.nest.flatten(args))
            return got[0] + got[1]

        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            return [grad_ys[0], grad_ys[0]], [None, None]

    x, z = x_of(), x_of(2.0)
    grads = tf.gradients(Nested()({"a": x}, ((z,),)), [x, z])
    return len(got), [grad is None for grad in grads]


def noted_attributes() -> Any:
    layer, x = Recompute(tf.tanh), x_of()
    layer(x)
    return len(layer._args_for_shape), type(layer._outputs_for_shape)


def gradient_of_a_number_in_keywords() -> Any:
    def f(x: Any, power: int) -> Any:
        return x**power

    x = x_of()
    return tf.gradients(Recompute(f)(x, power=2), x)[0] is not None


def rebuilt_by_the_layer_above() -> Any:
    handed: list[Any] = []

    class Last(Recompute):
        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            handed.append(tf.identity(x_of(), name="rebuilt"))
            return [grad_ys[0]], [handed[0]]

    first = Seen()
    x = x_of()
    tf.gradients(Last(tf.identity)(first(x)), x)
    return first.asked["rev_ys"][0] is handed[0]


def results(count: int) -> Any:
    class Returns(Recompute):
        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            return ([grad_ys[0]], [None], [], [])[:count]

    def differentiate() -> Any:
        x = x_of()
        return tf.gradients(Returns(tf.tanh)(x), x)

    return differentiate


def one_block_again() -> Any:
    """What ``_block_recompute_and_gradients`` hands back, and what its ops wait for."""
    x, side, dy = x_of(), x_of(2.0), x_of(3.0)
    w = weight("k")
    output, inputs, variables, sides = Recompute(tf.tanh)._block_recompute_and_gradients(
        lambda x, side: tf.matmul(x * side, w), [x], [dy], [w], side=side
    )
    stops = [op for op in tf.get_default_graph().get_operations() if op.type == "StopGradient"]
    counts = [len(found) for found in (inputs, variables, sides)]
    return output.shape.as_list(), counts, [dy.op in stop.control_inputs for stop in stops]


def recognised() -> Any:
    """``is_in_while_loop`` in the main graph, in both functions of a loop, and in a branch."""
    found: dict[str, bool] = {}

    def note(where: str, value: Any) -> Any:
        found[where] = Base.is_in_while_loop()
        return value

    tf.enable_control_flow_v2()
    try:
        i = tf.constant(0)
        tf.while_loop(lambda i: note("test", i < 3), lambda i: (note("body", i + 1),), (i,))
        tf.cond(i < 1, lambda: note("branch", i), lambda: i)
    finally:
        tf.disable_control_flow_v2()
    return Base.is_in_while_loop(), found


def exact(build: Callable[[bool], Any]) -> Callable[[], None]:
    return lambda: assert_same(build)


def in_a_function() -> Any:
    f = dense("k")
    x = x_of()

    @tensorflow.function
    def slopes(x: Any) -> Any:
        return tf.gradients(Recompute(f)(x), x)[0]

    f(x)
    with tf.Session() as session:
        ours, plain = slopes(x), tf.gradients(f(x), x)[0]
        session.run(tf.global_variables_initializer())
        return bool(np.allclose(*session.run([ours, plain]), rtol=1e-5))


def cleaned_name() -> Any:
    x = x_of()
    with tf.name_scope("outer"):
        y = Recompute(lambda x: tf.multiply(x, x, name="mul"))(x)
    tf.gradients(y, x, name="gg")
    return "gg/outer/mul" in {op.name for op in tf.get_default_graph().get_operations()}


def eager() -> Any:
    with backprop.context.eager_mode():
        return raised(lambda: Recompute(tf.tanh)(tensorflow.ones([2, 2])))


def on_a_tape() -> Any:
    @tensorflow.function
    def slopes(x: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            y = Recompute(tf.tanh)(x)
        return tape.gradient(y, x)

    x = x_of()
    with tf.Session() as session:
        ours, plain = session.run([slopes(x), tf.gradients(tf.tanh(x), x)[0]])
    return bool(np.allclose(ours, plain, rtol=1e-6))


def message_of_a_wrong_count() -> Any:
    with pytest.raises(GraphrevError) as caught:
        results(1)()
    return "{" in str(caught.value)


def flag_after_a_loop() -> Any:
    exact(programs.in_a_loop)()
    return Base.CtrlFlowWarnedOnce


def several_inputs_of_one_block() -> Any:
    x, z, dy = x_of(), x_of(2.0), x_of(3.0)
    found = Recompute(tf.tanh)._block_recompute_and_gradients(tf.multiply, [x, z], [dy], [])
    return [grad is None for grad in found[1]]


def gradient_of_an_unused_output() -> Any:
    layer = Seen(lambda x: (tf.tanh(x), tf.sin(x)))
    got: list[Any] = []

    class Two(Recompute):
        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            got.extend(grad_ys)
            return [grad_ys[0]], [None]

    x = x_of()
    tf.gradients(Two(layer.block)(x)[0], x)
    return [grad is None for grad in got]


def list_of_variables_after_use() -> Any:
    given = [weight("k")]
    before = list(given)
    Recompute(tf.tanh)._update_variables_for_context([x_of()], given)
    return all(one is other for one, other in zip(given, before))
