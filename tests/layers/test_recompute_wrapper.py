"""``AbstractRecomputeWrapper``: subclasses written for it, and its listed bugs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr

tf: Any = tensorflow.compat.v1
Base: Any = gr.layers.AbstractRecomputeWrapper


def weight(name: str) -> Any:
    start = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
    return tf.get_variable(name, [8, 8], initializer=start, use_resource=True)


class Recompute(Base):
    """Recomputes one block; a tensor among the keywords is a side input."""

    def __init__(self, block: Any) -> None:
        self.block = block

    def call(self, x: Any, **kwargs: Any) -> Any:
        self.x, self.side = x, kwargs
        return self.block(x, **kwargs)

    def _gradient(self, grad_ys: Any, rev_ys: Any, variables: Any = ()) -> Any:
        _, grads, grad_vars, _ = self._block_recompute_and_gradients(
            self.block, [self.x], list(grad_ys), list(variables), **self.side
        )
        return (grads, [None], grad_vars) if variables else (grads, [None])


class Pair(Base):
    """A reversible pair."""

    def __init__(self, f: Any, g: Any) -> None:
        self.f, self.g = f, g

    def call(self, x1: Any, x2: Any) -> Any:
        y1 = x1 + self.f(x2)
        return y1, x2 + self.g(y1)

    def _gradient(self, grad_ys: Any, rev_ys: Any, variables: Any = ()) -> Any:
        (gy1, gy2), (y1, y2) = grad_ys, rev_ys
        half = len(variables) // 2
        gh, (g1,), vars_g, _ = self._block_recompute_and_gradients(
            self.g, [y1], [gy2], variables[half:]
        )
        x2 = y2 - gh
        g1 = gy1 + g1
        fh, (g2,), vars_f, _ = self._block_recompute_and_gradients(
            self.f, [x2], [g1], variables[:half]
        )
        x1 = y1 - fh
        return (g1, g2 + gy2), (x1, x2), [*vars_f, *vars_g]


def x_of(scale: float = 1.0) -> Any:
    draw = np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32)
    return tf.constant(scale * draw)


def assert_same(build: Any) -> None:
    """``build(wrap)`` gives the same outputs and gradients wrapped and plain."""
    found = []
    for recompute in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            y, xs = build(recompute)
            asked = tf.gradients(tf.reduce_sum(tf.square(y)), [*xs, *tf.trainable_variables()])
            assert None not in asked
            session.run(tf.global_variables_initializer())
            found.append(session.run([y, *asked]))
    for plain, ours in zip(*found):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


def dense(name: str) -> Any:
    def f(x: Any) -> Any:
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            return tf.tanh(tf.matmul(x, weight(name)))

    return f


def one_block(recompute: bool) -> Any:
    x, f = x_of(), dense("k")
    return (Recompute(f)(x) if recompute else f(x)), [x]


def without_variables(recompute: bool) -> Any:
    x = x_of()
    return (Recompute(tf.tanh)(x) if recompute else tf.tanh(x)), [x]


def variables_whose_names_contain_one_another(recompute: bool) -> Any:
    def f(x: Any) -> Any:
        return dense("k_b")(dense("k")(x))

    x = x_of()
    return (Recompute(f)(x) if recompute else f(x)), [x]


def one_instance_called_twice(recompute: bool) -> Any:
    f, x, z = dense("k"), x_of(), x_of(2.0)
    layer = Recompute(f) if recompute else f
    return layer(x) * layer(z), [x, z]


def a_side_input(recompute: bool) -> Any:
    x, side = x_of(), tf.constant(np.full((4, 8), 0.2, np.float32))

    def f(x: Any, side: Any) -> Any:
        return dense("k")(x) * side

    return (Recompute(f)(x, side=side) if recompute else f(x, side)), [x, side]


def a_chain_of_pairs(recompute: bool) -> Any:
    x = x_of()
    a, b = x, 0.5 * x
    for number in range(3):
        layer = Pair(dense(f"f{number}"), dense(f"g{number}"))
        a, b = layer(a, b) if recompute else layer.call(a, b)
    return a + b, [x]


def in_a_loop(recompute: bool) -> Any:
    x, f = x_of(), dense("k")
    f(x)

    def body(i: Any, a: Any) -> Any:
        return i + 1, (Recompute(f)(a) if recompute else f(a))

    return tf.while_loop(lambda i, a: i < 3, body, (0, x))[1], [x]


def in_a_branch(recompute: bool) -> Any:
    x, f = x_of(), dense("k")
    f(x)
    taken = tf.reduce_sum(x) < 99
    return tf.cond(taken, lambda: Recompute(f)(x) if recompute else f(x), lambda: x), [x]


PLAIN = [
    one_block,
    without_variables,
    variables_whose_names_contain_one_another,
    one_instance_called_twice,
    a_side_input,
    a_chain_of_pairs,
    in_a_loop,
    in_a_branch,
]


@pytest.mark.parametrize("build", PLAIN)
def test_equals_plain_backpropagation(build: Any) -> None:
    assert_same(build)


@pytest.mark.parametrize("build", [in_a_loop, in_a_branch])
def test_equals_plain_backpropagation_in_functional_control_flow(build: Any) -> None:
    tf.enable_control_flow_v2()
    try:
        assert_same(build)
    finally:
        tf.disable_control_flow_v2()


def test_rebuilt_tensors_are_handed_down() -> None:
    with tf.Graph().as_default() as graph:
        x = x_of()
        y1, y2 = Pair(tf.tanh, tf.tanh)(x, x)
        z1, z2 = Pair(tf.tanh, tf.tanh)(y1, y2)
        forward = set(graph.get_operations())
        tf.gradients(z1 + z2, x)
        sums = {op for op in forward if op.type == "AddV2"}
        read = {t.op for op in graph.get_operations() if op not in forward for t in op.inputs}
    assert {op.name for op in read & sums} == {"add_2", "add_3"}


def test_helpers_mark_what_a_tensor_is_a_copy_of() -> None:
    with tf.Graph().as_default():
        layer, x, other = Recompute(tf.tanh), x_of(), x_of()
        first, second = tf.identity_n([x, tf.identity(x)])
        layer._set_recomputed_tensor(second, None)
        assert layer._check_get_recomputed_tensor(second) is second
        layer._set_recomputed_tensor(tf.identity(second), other)
        assert layer._check_get_recomputed_tensor(second) is other
        assert layer._check_get_recomputed_tensor(x) is other
        assert layer._check_get_recomputed_tensor(first) is first
        with pytest.raises(AssertionError):
            layer._set_recomputed_tensor(1.0, other)
        with pytest.raises(AssertionError):
            layer._check_get_recomputed_tensor(1.0)


def test_gradients_lie_in_the_scope_of_the_differentiation() -> None:
    with tf.Graph().as_default() as graph:
        x = x_of()
        with tf.name_scope("outer"):
            y = Recompute(lambda x: tf.multiply(x, x, name="mul"))(x)
        tf.gradients(y, x, name="gg")
        made = [op.name for op in graph.get_operations() if op.type == "Mul"]
    assert "gg/outer/mul" in made


def test_a_wrong_number_of_results_is_refused() -> None:
    class Wrong(Recompute):
        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            return (grad_ys,)

    with tf.Graph().as_default():
        x = x_of()
        with pytest.raises(ValueError, match=r"wrong number of outputs \(1\).*Wrong"):
            tf.gradients(Wrong(tf.tanh)(x), x)


def test_nested_arguments_and_results_keep_their_structure() -> None:
    class Nested(Base):
        def call(self, pair: Any) -> Any:
            return {"a": pair[0] * 2.0}, pair[1]["b"] * 3.0

        def _gradient(self, grad_ys: Any, rev_ys: Any, **_: Any) -> Any:
            return [2.0 * grad_ys[0]["a"], 3.0 * grad_ys[1]], [None, None]

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(1.0)
        first, second = Nested()((x, {"b": x}))
        assert session.run([first["a"], second, *tf.gradients(first["a"] + second, x)]) == [2, 3, 5]


def test_it_is_abstract() -> None:
    with pytest.raises(TypeError):
        Base()


def test_loops_are_recognised() -> None:
    seen: list[bool] = []

    def body(i: Any) -> Any:
        seen.append(Base.is_in_while_loop())
        return i + 1

    with tf.Graph().as_default() as graph:
        tf.while_loop(lambda i: i < 3, body, (0,))
        assert not Base.is_in_while_loop() and not Base.is_in_while_loop(graph)
        tf.enable_control_flow_v2()
        try:
            tf.while_loop(lambda i: i < 3, body, (0,))
        finally:
            tf.disable_control_flow_v2()
    assert seen == [True, True]


def test_one_instance_called_twice_on_a_reference_variable() -> None:
    found = []
    for ours in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            start = tf.random_normal_initializer(stddev=0.3, seed=1)
            w = tf.get_variable("w", [8, 8], initializer=start, use_resource=False)

            def block(x: Any, w: Any = w) -> Any:
                return tf.tanh(tf.matmul(x, w))

            layer = Recompute(block) if ours else block
            x = tf.constant(np.random.default_rng(0).standard_normal((4, 8)), tf.float32)
            grads = tf.gradients(layer(layer(x) * x), [x, w])
            session.run(tf.global_variables_initializer())
            found.append(session.run(grads))
    for plain, mine in zip(*found):
        np.testing.assert_allclose(mine, plain, rtol=1e-4, atol=1e-5)
