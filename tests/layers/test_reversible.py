"""``rev_block`` beside plain backpropagation, and everything upstream failed at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr

tf: Any = tensorflow.compat.v1
Build = Callable[[bool], Any]
COLLECTIONS = ("variables", "trainable_variables", "update_ops", "regularization_losses")


def weight(name: str = "w", width: int = 8, **options: Any) -> Any:
    seed = sum(map(ord, tf.get_variable_scope().name + name))
    start = tf.random_normal_initializer(stddev=width**-0.5, seed=seed, dtype=tf.float32)
    return tf.get_variable(name, [width, width], initializer=start, **options)


def dense(x: Any, side: Any = None) -> Any:
    y = tf.tanh(tf.matmul(x, tf.cast(weight(), x.dtype)))
    return y if side is None else y + sum(tf.cast(s, x.dtype) for s in side)


def inputs(rows: int = 4, dtype: Any = np.float32) -> tuple[Any, Any]:
    draw = np.random.default_rng(0)
    return tuple(tf.constant(draw.standard_normal((rows, 8)).astype(dtype)) for _ in range(2))


def values(build: Build, efficient: bool, after: Callable[[], Any] = lambda: ()) -> list[Any]:
    """The outputs, the loss and the gradients of inputs, side inputs and variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(7)
        y1, y2, *xs = build(efficient)
        loss = tf.reduce_sum(tf.square(y1) + 3.0 * y2)
        variables = tf.trainable_variables()
        grads = tf.gradients(loss, [*xs, *variables], unconnected_gradients="zero")
        counts = {key: len(tf.get_collection(key)) for key in COLLECTIONS}
        session.run(tf.global_variables_initializer())
        return [*session.run([y1, y2, loss, *grads]), counts, [v.name for v in variables]]


def assert_same(build: Build, tolerance: float = 1e-5) -> None:
    """With and without recomputation: the same outputs, gradients, collections and names."""
    plain, ours = values(build, False), values(build, True)
    assert plain[-2:] == ours[-2:]
    for first, second in zip(plain[:-2], ours[:-2]):
        first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
        scale = max(1.0, float(np.abs(first).max(initial=0)))
        np.testing.assert_allclose(second / scale, first / scale, rtol=0, atol=tolerance)


def block(efficient: bool, f: Any = dense, g: Any = dense, **options: Any) -> Any:
    x1, x2 = inputs()
    return (*gr.layers.rev_block(x1, x2, f, g, is_training=efficient, **options), x1, x2)


def without_variables(efficient: bool) -> Any:
    return block(efficient, tf.tanh, tf.sigmoid, num_layers=3)


def one_without_variables(efficient: bool) -> Any:
    return block(efficient, tf.tanh, dense, num_layers=2)


def closing_over_a_variable(efficient: bool) -> Any:
    outer = weight("outer")
    return block(efficient, lambda x: tf.matmul(x, outer), dense, num_layers=2)


def closing_over_a_tensor(efficient: bool) -> Any:
    outer = tf.constant(np.full((4, 8), 0.3, np.float32))
    return (*block(efficient, lambda x: x * outer, dense, num_layers=2), outer)


def closing_over_an_input(efficient: bool) -> Any:
    x1, x2 = inputs()
    ys = gr.layers.rev_block(x1, x2, lambda x: x * x1, dense, 2, is_training=efficient)
    return (*ys, x1, x2)


def side_inputs(efficient: bool) -> Any:
    a, b = tf.constant(np.full((4, 8), 0.3, np.float32)), tf.constant([0.5] * 8)
    return (*block(efficient, num_layers=3, f_side_input=[a], g_side_input=[b]), a, b)


def one_tensor_in_both_side_inputs(efficient: bool) -> Any:
    a = tf.constant(np.full((4, 8), 0.3, np.float32))
    return (*block(efficient, f_side_input=[a], g_side_input=[a]), a)


def one_tensor_twice_as_side_input(efficient: bool) -> Any:
    a = tf.constant(np.full((4, 8), 0.3, np.float32))
    return (*block(efficient, f_side_input=[a, a], num_layers=2), a)


def a_variable_as_side_input(efficient: bool) -> Any:
    return block(efficient, f_side_input=[tf.get_variable("side", [8])])


def a_reference_variable_as_side_input(efficient: bool) -> Any:
    side = tf.get_variable("side", [8], use_resource=False)
    return block(efficient, f_side_input=[side])


def an_integer_side_input(efficient: bool) -> Any:
    return block(efficient, f_side_input=[tf.constant(2)])


def an_input_as_side_input(efficient: bool) -> Any:
    x1, x2 = inputs()
    ys = gr.layers.rev_block(x1, x2, dense, dense, f_side_input=[x1], is_training=efficient)
    return (*ys, x1, x2)


def ignoring_its_input(efficient: bool) -> Any:
    return block(efficient, lambda x: tf.ones_like(x) * weight()[:4], dense, num_layers=2)


def returning_a_constant(efficient: bool) -> Any:
    return block(efficient, lambda x: tf.zeros([4, 8]), dense)


def returning_its_input(efficient: bool) -> Any:
    return block(efficient, lambda x: x, dense, num_layers=2)


def broadcasting(efficient: bool) -> Any:
    return block(efficient, lambda x: tf.reduce_mean(x, 0, keepdims=True), dense, num_layers=2)


def lists_of_functions(efficient: bool) -> Any:
    return block(efficient, [dense, tf.tanh], [tf.sigmoid, dense], num_layers=2)


def tuples_of_functions(efficient: bool) -> Any:
    return block(efficient, (dense, tf.tanh), (tf.sigmoid, dense), num_layers=2)


def partials_and_objects(efficient: bool) -> Any:
    class Called:
        def __call__(self, x: Any) -> Any:
            return dense(x)

    return block(efficient, functools.partial(dense, side=None), Called(), num_layers=2)


def no_layers(efficient: bool) -> Any:
    return block(efficient, num_layers=0)


def batch_norm_updates(efficient: bool) -> Any:
    def norm(x: Any) -> Any:
        mean = tf.get_variable("mean", [8], trainable=False)
        batch, variance = tf.nn.moments(x, [0])
        tf.add_to_collection("update_ops", tf.assign(mean, 0.9 * mean + 0.1 * batch))
        return tf.nn.batch_normalization(x, batch, variance, None, None, 1e-3) * weight()[0]

    return block(efficient, norm, norm, num_layers=2)


def regularized(efficient: bool) -> Any:
    with tf.variable_scope("s", regularizer=lambda w: tf.reduce_sum(tf.square(w))):
        return block(efficient, num_layers=2)


def dropout(efficient: bool) -> Any:
    return block(efficient, lambda x: tf.nn.dropout(dense(x), rate=0.5, seed=3), num_layers=2)


def a_branch(efficient: bool) -> Any:
    def f(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x), lambda: x * 0.5)

    return block(efficient, f, dense, num_layers=2)


def inside_a_branch(efficient: bool) -> Any:
    x1, x2 = inputs()
    yes = functools.partial(gr.layers.rev_block, x1, x2, dense, dense, 2, is_training=efficient)
    return (*tf.cond(tf.reduce_sum(x1) > -99, lambda: yes(), lambda: (x2, x1)), x1, x2)


def inside_a_loop(efficient: bool) -> Any:
    x1, x2 = inputs()

    def body(i: Any, a: Any, b: Any) -> Any:
        ys = gr.layers.rev_block(a, b, tf.tanh, tf.sigmoid, 2, is_training=efficient)
        return (i + 1, *ys)

    return (*tf.while_loop(lambda i, a, b: i < 3, body, (0, x1, x2))[1:], x1, x2)


def inside_a_loop_with_variables(efficient: bool) -> Any:
    x1, x2 = inputs()

    def body(i: Any, a: Any, b: Any) -> Any:
        with tf.variable_scope("loop", reuse=tf.AUTO_REUSE):
            ys = gr.layers.rev_block(a, b, dense, dense, 2, is_training=efficient)
        return (i + 1, *ys)

    return (*tf.while_loop(lambda i, a, b: i < 3, body, (0, x1, x2))[1:], x1, x2)


def a_chain_of_blocks(efficient: bool) -> Any:
    x1, x2 = inputs()
    y1, y2 = x1, x2
    for _ in range(4):
        y2, y1 = gr.layers.rev_block(y1, y2, dense, dense, 2, is_training=efficient)
    return y1, y2, x1, x2


def nested_blocks(efficient: bool) -> Any:
    def f(x: Any) -> Any:
        halves = tf.split(x, 2, axis=1)
        return tf.concat(gr.layers.rev_block(*halves, tf.tanh, tf.sigmoid), 1)

    return block(efficient, f, dense, num_layers=2)


def arrays(efficient: bool) -> Any:
    x1 = np.ones((4, 8), np.float32)
    return gr.layers.rev_block(x1, 2 * x1, dense, dense, is_training=efficient)


def unknown_batch(efficient: bool) -> Any:
    x1, x2 = (tf.placeholder_with_default(x, [None, 8]) for x in inputs())
    return (*gr.layers.rev_block(x1, x2, dense, dense, 2, is_training=efficient), x1, x2)


def shared_in_one_scope(efficient: bool) -> Any:
    x1, x2 = inputs()
    with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
        y1, y2 = gr.layers.rev_block(x1, x2, dense, dense, 2, is_training=efficient)
    with tf.variable_scope("s", reuse=True):
        y1, y2 = gr.layers.rev_block(y1, y2, dense, dense, 2, is_training=efficient)
    return y1, y2, x1, x2


def under_control_dependencies(efficient: bool) -> Any:
    with tf.control_dependencies([tf.no_op()]):
        return block(efficient, num_layers=2)


SAME = [
    without_variables,
    one_without_variables,
    closing_over_a_variable,
    closing_over_a_tensor,
    closing_over_an_input,
    side_inputs,
    one_tensor_in_both_side_inputs,
    one_tensor_twice_as_side_input,
    a_variable_as_side_input,
    a_reference_variable_as_side_input,
    an_integer_side_input,
    an_input_as_side_input,
    ignoring_its_input,
    returning_a_constant,
    returning_its_input,
    broadcasting,
    lists_of_functions,
    tuples_of_functions,
    partials_and_objects,
    no_layers,
    batch_norm_updates,
    regularized,
    dropout,
    a_branch,
    inside_a_branch,
    inside_a_loop,
    inside_a_loop_with_variables,
    a_chain_of_blocks,
    nested_blocks,
    arrays,
    unknown_batch,
    shared_in_one_scope,
    under_control_dependencies,
]


@pytest.mark.parametrize("build", SAME)
def test_equals_plain_backpropagation(build: Build) -> None:
    assert_same(build)


@pytest.mark.parametrize(
    "build",
    [a_branch, inside_a_branch, inside_a_loop, inside_a_loop_with_variables],
)
def test_equals_plain_backpropagation_in_functional_control_flow(build: Build) -> None:
    tf.enable_control_flow_v2()
    try:
        assert_same(build)
    finally:
        tf.disable_control_flow_v2()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_variables_follow_the_type_of_the_input(dtype: str) -> None:
    def f(x: Any) -> Any:
        return x * tf.get_variable("w", [8], x.dtype, tf.ones_initializer())

    with tf.Graph().as_default():
        x1, x2 = (tf.cast(x, dtype) for x in inputs())
        y1, _ = gr.layers.rev_block(x1, x2, f, f)
        assert y1.dtype == dtype
        assert {v.dtype.base_dtype.name for v in tf.trainable_variables()} == {dtype}
        assert None not in tf.gradients(y1, [x1, x2])


def test_names_are_those_of_contrib() -> None:
    with tf.Graph().as_default():
        x1, x2 = inputs()
        with tf.variable_scope("test"):
            y1, y2 = gr.layers.rev_block(x1, x2, dense, dense, num_layers=2)
            gr.layers.rev_block(y1, y2, dense, dense)
        assert (y1.name, y2.name) == ("test/revblock/IdentityN:0", "test/revblock/IdentityN:1")
        assert [v.name for v in tf.global_variables()] == [
            "test/revblock/revlayer_0/f/w:0",
            "test/revblock/revlayer_0/g/w:0",
            "test/revblock/revlayer_1/f/w:0",
            "test/revblock/revlayer_1/g/w:0",
            "test/revblock_1/revlayer_0/f/w:0",
            "test/revblock_1/revlayer_0/g/w:0",
        ]
        assert all("ResourceVariable" in type(v).__name__ for v in tf.global_variables())


def test_without_training_the_outputs_are_the_sums() -> None:
    with tf.Graph().as_default():
        y1, _ = gr.layers.rev_block(*inputs(), dense, dense, is_training=False)
        assert (y1.name, y1.op.type) == ("revblock/add:0", "AddV2")


def test_nothing_is_added_under_the_scope_of_the_identity() -> None:
    with tf.Graph().as_default() as graph:
        y1, y2, x1, _ = block(True, num_layers=2)
        before = len(graph.get_operations())
        tf.gradients(y1 + y2, x1, name="mine")
        added = [op.name for op in graph.get_operations()[before:]]
    ours = [name for name in added if "recompute" in name.split("/")]
    assert ours and all(name.startswith("mine/revblock/") for name in ours)


def test_f_runs_backwards_once() -> None:
    with tf.Graph().as_default() as graph:
        y1, y2, x1, x2 = block(True, num_layers=3)
        tf.gradients(y1 + y2, [x1, x2, *tf.trainable_variables()])
        kinds = [op.type for op in graph.get_operations()]
    assert kinds.count("TanhGrad") == 6 and kinds.count("Tanh") == 12


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_gradients_read_only_the_last_two_streams(layers: int) -> None:
    with tf.Graph().as_default() as graph:
        y1, y2, x1, x2 = block(True, num_layers=layers)
        forward = set(graph.get_operations())
        tf.gradients(tf.square(y1) + y2, [x1, x2, *tf.trainable_variables()])
        read = {
            tensor.name
            for op in set(graph.get_operations()) - forward
            if op.type not in ("ZerosLike", "Shape")
            for tensor in op.inputs
            if tensor.op in forward and "add" in tensor.op.name.split("/")[-1]
        }
    last = [f"revblock/add{'' if n == 0 else f'_{n}'}:0" for n in (2 * layers - 2, 2 * layers - 1)]
    assert read == set(last) | {"add:0"} or read == set(last)


def test_backward_undoes_forward_and_reuses_the_variables() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        layer = gr.layers.RevBlock(dense, dense, num_layers=3)
        x1, x2 = inputs()
        z1, z2 = layer.backward(*layer.forward(x1, x2))
        assert len(layer.trainable_weights) == 6 == len(tf.global_variables())
        session.run(tf.global_variables_initializer())
        for there, back in (session.run([x1, z1]), session.run([x2, z2])):
            np.testing.assert_allclose(back, there, atol=1e-5)


def test_backward_may_come_first() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        layer = gr.layers.RevBlock(dense, dense, num_layers=3)
        y1, y2 = inputs()
        z1, z2 = layer.forward(*layer.backward(y1, y2))
        session.run(tf.global_variables_initializer())
        for there, back in (session.run([y1, z1]), session.run([y2, z2])):
            np.testing.assert_allclose(back, there, rtol=1e-5, atol=1e-5)


def test_the_same_scope_twice_without_reuse_is_refused() -> None:
    with tf.Graph().as_default():
        x1, x2 = inputs()
        with tf.variable_scope("s"):
            gr.layers.rev_block(x1, x2, dense, dense)
        with tf.variable_scope("s"), pytest.raises(ValueError, match="already exists, disallowed"):
            gr.layers.rev_block(x1, x2, dense, dense)


def test_a_custom_getter_is_called_for_creation_alone() -> None:
    calls: list[str] = []

    def once(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return getter(name, *args, **kwargs)

    with tf.Graph().as_default():
        with tf.variable_scope("s", custom_getter=once):
            y1, y2, x1, _ = block(True, num_layers=2)
        tf.gradients(y1 + y2, x1)
    assert len(calls) == 4


def test_random_numbers_without_a_seed_are_the_same_in_both_passes() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x1, x2 = inputs()
        drawn: list[Any] = []

        def noisy(x: Any) -> Any:
            drawn.append(tf.cast(tf.random_uniform(tf.shape(x)) < 0.5, tf.float32))
            return x * drawn[-1]

        y1, _ = gr.layers.rev_block(x1, x2, noisy, lambda x: x * 0.0)
        grad, mask = session.run([tf.gradients(y1, x2)[0], drawn[0]])
        np.testing.assert_array_equal(grad, mask)
        assert len(drawn) == 2 or len(drawn) == 1


def test_second_order_gradients_equal_plain_ones() -> None:
    found = []
    for efficient in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            y1, y2, x1, x2 = block(efficient, num_layers=2)
            first = tf.gradients(tf.reduce_sum(y1 * y1 + y2 * y2), [x1, x2])
            loss = tf.reduce_sum(tf.square(first[0]) + first[1])
            second = tf.gradients(loss, [x1, x2, *tf.trainable_variables()])
            session.run(tf.global_variables_initializer())
            found.append(session.run(second))
    for plain, ours in zip(*found):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


def test_stop_gradients_and_single_outputs() -> None:
    found = []
    for efficient in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            y1, y2, x1, x2 = block(efficient, num_layers=3)
            kernels = tf.trainable_variables()
            asked = [
                *tf.gradients(y1, [x1, *kernels], unconnected_gradients="zero"),
                *tf.gradients(y2, [x2, kernels[-1]]),
                *tf.gradients([y1, y2], kernels[3:], grad_ys=[y2, y1]),
                *tf.gradients(y2, [x2, *kernels[:2]], stop_gradients=[x1]),
                *tf.gradients(y2, [x2], colocate_gradients_with_ops=True),
            ]
            session.run(tf.global_variables_initializer())
            found.append(session.run(asked))
    for plain, ours in zip(*found):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resource", [True, False])
def test_training_takes_the_same_steps(resource: bool) -> None:
    def f(x: Any) -> Any:
        with tf.variable_scope("own", use_resource=resource):
            return tf.tanh(tf.matmul(x, weight()))

    found = []
    for efficient in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            y1, y2, *_ = block(efficient, f, f, num_layers=4)
            loss = tf.reduce_mean(tf.square(y1) + tf.square(y2))
            step = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
            session.run(tf.global_variables_initializer())
            losses = [session.run([loss, step])[0] for _ in range(10)]
            found.append([*losses, *map(np.sum, session.run(tf.trainable_variables()))])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def test_a_function_that_changes_the_shape_is_refused() -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError):
        block(True, lambda x: tf.concat([x, x], 1))
    with tf.Graph().as_default(), pytest.raises(ValueError, match="keep the shape"):
        x = tf.ones([1, 8])
        gr.layers.rev_block(x, x, lambda x: tf.tile(x, [3, 1]), dense)


def test_lists_of_the_wrong_length_are_refused() -> None:
    with tf.Graph().as_default(), pytest.raises(AssertionError, match="num_layers=3"):
        block(True, [dense, dense], num_layers=3)
    with tf.Graph().as_default(), pytest.raises(TypeError, match="must be a function"):
        block(True, 3)


def test_eager_calls_say_what_to_do() -> None:
    code = nullcontext() if tf.executing_eagerly() else tensorflow.init_scope()
    with code:
        if not tf.executing_eagerly():
            pytest.skip("another test module disabled eager execution")
        x = tf.ones([2, 8])
        with pytest.raises(RuntimeError, match="is_training=False"):
            gr.layers.rev_block(x, x, tf.tanh, tf.tanh)
        y1, _ = gr.layers.rev_block(x, x, tf.tanh, tf.tanh, is_training=False)
        assert y1.shape == (2, 8)
