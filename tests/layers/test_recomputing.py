"""``recompute_grad``: gradients of the plain function, and what upstream failed at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr

tf: Any = tensorflow.compat.v1
recompute_grad: Any = gr.layers.recompute_grad


def dense(x: Any, name: str = "dense", width: int = 8) -> Any:
    with tf.variable_scope(None, default_name=name, use_resource=True):
        seed = sum(map(ord, tf.get_variable_scope().name))
        start = tf.random_normal_initializer(stddev=0.3, seed=seed)
        w = tf.get_variable("w", [int(x.shape[-1]), width], initializer=start)
        return tf.tanh(tf.matmul(x, w))


def two(x: Any) -> Any:
    return dense(dense(x))


def x_of(rows: int = 4) -> Any:
    return tf.constant(np.random.default_rng(1).standard_normal((rows, 8)).astype(np.float32))


def gradients(wrap: Callable[[Any], Any], use: Callable[[Any], Any]) -> list[Any]:
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        ys, xs = use(wrap)
        asked = tf.gradients(ys, [*xs, *tf.trainable_variables()], unconnected_gradients="zero")
        session.run(tf.global_variables_initializer())
        return session.run([*tensorflow.nest.flatten(ys), *asked])


def one_input(wrap: Any) -> Any:
    x = x_of()
    return wrap(two)(x), [x]


def a_chain(wrap: Any) -> Any:
    x = y = x_of()
    for number in range(3):
        with tf.variable_scope(f"s{number}"):
            y = wrap(two)(y)
    return y, [x]


def the_same_tensor_twice(wrap: Any) -> Any:
    x = x_of()
    return wrap(lambda a, b: a * tf.tanh(b))(x, x), [x]


def an_array(wrap: Any) -> Any:
    return wrap(two)(np.ones((4, 8), np.float32)), []


def keyword_arguments(wrap: Any) -> Any:
    x, scale = x_of(), tf.constant(2.0)
    y = wrap(lambda a, scale, training: dense(a) * scale if training else a)
    return y(x, scale=scale, training=True), [x, scale]


def nested_arguments(wrap: Any) -> Any:
    x = x_of()
    return wrap(lambda pair: pair[0] * tf.tanh(pair[1]["b"]))((x, {"b": 2 * x})), [x]


def no_arguments(wrap: Any) -> Any:
    return wrap(lambda: dense(tf.ones([2, 8])))(), []


def a_partial(wrap: Any) -> Any:
    x = x_of()
    return wrap(functools.partial(dense, name="named"))(x), [x]


def a_callable_object(wrap: Any) -> Any:
    class Called:
        def __call__(self, x: Any) -> Any:
            return two(x)

    x = x_of()
    return wrap(Called())(x), [x]


def a_tensor_in_a_list(wrap: Any) -> Any:
    x, held = x_of(), [tf.constant(2.0)]
    return wrap(lambda a: tf.tanh(a * held[0]))(x), [x, held[0]]


def unseeded_dropout(wrap: Any) -> Any:
    x = x_of()
    return wrap(lambda a: tf.nn.dropout(dense(a), rate=0.5))(x), [x]


def dense_net(wrap: Any) -> Any:
    x = x_of()
    found = [x]
    for _ in range(3):
        found.append(wrap(lambda *args: tf.tanh(tf.concat(args, 1)))(*found))
    return found[-1], [x]


def integer_input(wrap: Any) -> Any:
    x = x_of()
    return wrap(lambda a, i: tf.gather(tf.tanh(a), i))(x, tf.constant([0, 2, 2])), [x]


def in_a_loop(wrap: Any) -> Any:
    x = x_of()
    return tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, wrap(tf.tanh)(a)), (0, x))[1], [x]


def told(wrap: Any) -> Any:
    x = x_of()

    def f(a: Any, *, is_recomputing: bool = False) -> Any:
        return two(a)

    return wrap(f)(x), [x]


SAME = [
    one_input,
    a_chain,
    the_same_tensor_twice,
    an_array,
    keyword_arguments,
    nested_arguments,
    no_arguments,
    a_partial,
    a_callable_object,
    a_tensor_in_a_list,
    unseeded_dropout,
    dense_net,
    integer_input,
    in_a_loop,
    told,
]


@pytest.mark.parametrize("use", SAME)
def test_gradients_are_bitwise_those_of_the_plain_function(use: Any) -> None:
    plain, ours = gradients(lambda f: f, use), gradients(recompute_grad, use)
    if use is unseeded_dropout:
        return
    for first, second in zip(plain, ours):
        if use is dense_net:
            np.testing.assert_allclose(second, first, rtol=1e-6)
        else:
            np.testing.assert_array_equal(second, first)


@pytest.mark.parametrize(
    "wrap",
    [
        recompute_grad(),
        recompute_grad(use_data_dep=True),
        recompute_grad(use_data_dep=True, tupleize_grads=True),
        recompute_grad(tupleize_grads=True),
    ],
)
def test_works_with_arguments(wrap: Any) -> None:
    for first, second in zip(gradients(lambda f: f, one_input), gradients(wrap, one_input)):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "pack",
    [lambda y: y, lambda y: (y, y), lambda y: [y], lambda y: (y,), lambda y: {"a": y, "b": (y, y)}],
)
def test_the_structure_of_the_result_is_kept(pack: Any) -> None:
    with tf.Graph().as_default():
        result = recompute_grad(lambda x: pack(tf.tanh(x)))(x_of())
        tensorflow.nest.assert_same_structure(result, pack(0))


def test_a_function_that_asks_is_called_again() -> None:
    seen: list[bool] = []

    def f(x: Any, is_recomputing: bool = False) -> Any:
        seen.append(is_recomputing)
        tf.add_to_collection("update_ops", tf.no_op())
        if is_recomputing:
            tf.get_collection_ref("update_ops").pop()
        return dense(x)

    with tf.Graph().as_default():
        x = x_of()
        tf.gradients(recompute_grad(f)(x), [x, *tf.trainable_variables()])
        assert seen == [False, True]
        assert len(tf.get_collection("update_ops")) == 1


def test_updates_are_made_once() -> None:
    def f(x: Any) -> Any:
        tf.add_to_collection("update_ops", tf.no_op())
        return dense(x)

    with tf.Graph().as_default():
        x = x_of()
        tf.gradients(recompute_grad(f)(x), x)
        assert len(tf.get_collection("update_ops")) == 1


def test_a_double_call_with_default_names_in_one_scope_is_refused() -> None:
    wrapped = recompute_grad(dense)
    with tf.Graph().as_default(), tf.variable_scope("layer"):
        x = x_of()
        y = wrapped(x) + wrapped(x)
        with pytest.raises(ValueError, match="called twice in the same enclosing scope"):
            tf.gradients(y, [x, *tf.trainable_variables()])


def test_a_double_call_in_scopes_of_their_own_works() -> None:
    wrapped = recompute_grad(dense)
    with tf.Graph().as_default():
        x = x_of()
        with tf.variable_scope("one"):
            y = wrapped(x)
        with tf.variable_scope("two"):
            y += wrapped(x)
        assert None not in tf.gradients(y, [x, *tf.trainable_variables()])
        assert len(tf.trainable_variables()) == 2


def test_reusing_named_variables_twice_works() -> None:
    wrapped = recompute_grad(lambda x: x * tf.get_variable("v", [8], use_resource=True))
    with tf.Graph().as_default():
        x = x_of()
        with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
            y = wrapped(x) + wrapped(x)
        assert None not in tf.gradients(y, [x, *tf.trainable_variables()])


def test_closing_over_a_tensor_is_refused_when_decorated() -> None:
    with tf.Graph().as_default():
        outer = tf.ones([2, 2], name="outer")
        with pytest.raises(ValueError, match="closes over Tensor outer:0"):
            recompute_grad(lambda x: x * outer)


@pytest.mark.parametrize("wrong", [2.0, "text", None])
def test_other_positional_arguments_are_refused(wrong: Any) -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError, match="must be Tensors"):
        recompute_grad(lambda x: x)(wrong)


def test_the_recomputation_waits_for_the_gradient() -> None:
    with tf.Graph().as_default():
        x = x_of()
        y = recompute_grad(two)(x)
        gradient = tf.ones_like(y, name="incoming")
        ops = set(tf.get_default_graph().get_operations())
        tf.gradients(y, x, grad_ys=gradient, name="G")
        made = [op for op in tf.get_default_graph().get_operations() if op not in ops]
    waiting = [op for op in made if any(c.name == "G/grad_ys_0" for c in op.control_inputs)]
    assert len(waiting) == 1 and waiting[0].name.startswith("G/two/recompute/")
