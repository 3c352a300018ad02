"""What seed-systems.md says of contrib's ``rev_block`` and ``recompute_grad``, row by row.

The left side is a statement of its sections 1.2 and 1.4; where the section calls something a bug,
the row pins what graphrev does instead. ``Raises`` is an error type with a piece of its message.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow
from tensorflow.python.layers import layers as core_layers

from graphrev.errors import GraphrevError
from graphrev.layers import RevBlock, recompute_grad, rev_block

tf: Any = tensorflow.compat.v1
X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


class Raises(NamedTuple):
    kind: type[Exception]
    phrase: str


def dense(x: Any, units: int = 8) -> Any:
    return core_layers.dense(x, units)


def named(x: Any) -> Any:
    return core_layers.dense(x, 8, name="named")


def block(count: int = 1, f: Any = dense, g: Any = dense, **options: Any) -> Any:
    return rev_block(tf.constant(X), tf.constant(X), f, g, count, **options)


def variables() -> list[str]:
    return [variable.name for variable in tf.global_variables()]


def missing(ys: Any, xs: Any) -> list[bool]:
    """Which gradients are ``None``."""
    return [grad is None for grad in tf.gradients(ys, xs)]


def names_of_two_blocks() -> Any:
    with tf.variable_scope("test"):
        block(2)
        block(1)
    return variables()[::2]


def kinds_of_variables() -> Any:
    with tf.variable_scope("outer", use_resource=False):
        block()
    return {type(variable).__name__ for variable in tf.global_variables()}


def names_of_outputs() -> Any:
    with tf.variable_scope("test"):
        return [t.name for t in (*block(2), *block(1, is_training=False))]


def types_of_outputs() -> Any:
    return [block()[0].op.type, block(is_training=False)[0].op.type]


def collections() -> Any:
    block(2)
    return [len(tf.global_variables()), len(tf.trainable_variables())]


def weights_of_a_block() -> Any:
    layer = RevBlock(dense, dense, 2)
    outputs = layer.forward(tf.constant(X), tf.constant(X))
    first = len(layer.trainable_weights)
    layer.backward(*outputs)
    return first, len(layer.trainable_weights), len(layer.non_trainable_weights)


def reuse_with(reuse: Any) -> Any:
    for time in range(2):
        with tf.variable_scope("s", reuse=reuse if time or reuse is not True else None):
            block()
    return len(variables())


def getter_and_regularizer() -> Any:
    asked: list[str] = []

    def note(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return getter(name, *args, **kwargs)

    with tf.variable_scope("s", custom_getter=note, regularizer=tf.nn.l2_loss):
        y1, _ = block()
    before = len(asked), len(tf.get_collection("regularization_losses"))
    tf.gradients(y1, tf.trainable_variables())
    return *before, len(asked), len(tf.get_collection("regularization_losses"))


def types_that_variables_follow() -> Any:
    found = []
    for dtype in (tf.float16, tf.bfloat16, tf.float64):
        with tf.variable_scope(dtype.name):
            x = tf.cast(X, dtype)
            y, _ = rev_block(x, x, dense, dense)
        found.append((y.dtype.name, tf.global_variables()[-1].dtype.base_dtype.name))
    return found


def unknown_batch() -> Any:
    x = tf.placeholder(tf.float32, [None, 8])
    grads = tf.gradients(rev_block(x, x, dense, dense, 2), x)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(grads, {x: X})[0].shape


def one_layer_object_for_all() -> Any:
    layer = core_layers.Dense(8)
    y = block(2, layer, layer)
    return variables(), missing(y, tf.trainable_variables())


def integer_and_unused_side_inputs() -> Any:
    x, whole, unused = tf.constant(X), tf.constant([1, 0, 1, 0]), tf.constant(1.0)

    def f(x: Any, side: Any) -> Any:
        return tf.tanh(x) * tf.cast(side[0], tf.float32)[:, None]

    y = rev_block(x, x, f, tf.tanh, f_side_input=[whole, unused])
    return missing(y, [x, whole, unused])


def side_input_is_a_list() -> Any:
    kinds: list[type] = []

    def f(x: Any, side: Any) -> Any:
        kinds.append(type(side))
        return x * side[0]

    block(1, f, tf.tanh, f_side_input=[tf.constant(0.5)])
    return kinds


def unused_and_frozen_variables() -> Any:
    def f(x: Any) -> Any:
        tf.get_variable("unused", [8, 8])
        return tf.matmul(x, tf.get_variable("frozen", [8, 8], trainable=False))

    y = block(1, f, tf.tanh)
    return missing(y, tf.trainable_variables())


def structures() -> Any:
    def of(pack: Any) -> Any:
        return recompute_grad(lambda x: pack(tf.tanh(x)))(tf.constant(X))

    packs = (lambda y: (y, y), lambda y: [y], lambda y: (y,), lambda y: {"a": y})
    return [type(of(pack)).__name__ for pack in packs]


def told_by(fn: Callable[..., Any], seen: list[bool]) -> Any:
    x = tf.constant(X)
    tf.gradients(recompute_grad(fn)(x), x)
    return seen


def told() -> Any:
    seen: list[bool] = []

    def fn(x: Any, is_recomputing: bool = False) -> Any:
        seen.append(is_recomputing)
        return tf.tanh(x)

    return told_by(fn, seen)


def told_by_keyword_only() -> Any:
    seen: list[bool] = []

    def fn(x: Any, *, is_recomputing: bool) -> Any:
        seen.append(is_recomputing)
        return tf.tanh(x)

    return told_by(fn, seen)


def not_told_by_any_keyword() -> Any:
    seen: list[bool] = []

    def fn(x: Any, **kwargs: Any) -> Any:
        seen.append("is_recomputing" in kwargs)
        return tf.tanh(x)

    return told_by(fn, seen)


def scopes_of_recomputed_ops() -> Any:
    x = tf.constant(X)
    y = recompute_grad(tf.tanh)(x)
    with tf.name_scope("G"):
        tf.gradients(y, x)
    graph = tf.get_default_graph()
    copy = graph.get_operation_by_name("G/gradients/tanh/recompute/Tanh")
    return [op.name for op in copy.inputs[0].op.control_inputs]


def closes_over() -> Any:
    tensor = tf.constant(X)
    return recompute_grad(lambda x: x * tensor)


def closes_over_a_list() -> Any:
    tensors = [tf.constant(X)]
    return missing(recompute_grad(lambda x: x * tensors[0])(tf.constant(X)), tensors)


def twice_in_one_scope(fn: Any) -> Any:
    wrapped = recompute_grad(fn)
    y = wrapped(wrapped(tf.constant(X)))
    return missing(y, tf.trainable_variables())


def twice_under_one_name() -> Any:
    with tf.variable_scope("s", reuse=tf.AUTO_REUSE):
        return twice_in_one_scope(named)


def reference_variables() -> Any:
    def fn(x: Any) -> Any:
        return tf.matmul(x, tf.get_variable("w", [8, 8], use_resource=False))

    return missing(recompute_grad(fn)(tf.constant(X)), tf.global_variables())


def every_way_to_decorate() -> Any:
    ways = (
        recompute_grad(tf.tanh),
        recompute_grad()(tf.tanh),
        recompute_grad(use_data_dep=True, tupleize_grads=True)(tf.tanh),
        recompute_grad(tf.tanh, use_data_dep=True),
    )
    return [way(tf.constant(X)).shape.as_list() for way in ways]


def callable_object() -> Any:
    class Call:
        def __call__(self, x: Any) -> Any:
            return tf.tanh(x)

    x = tf.constant(X)
    return missing(recompute_grad(Call())(x), x)


def same_tensor_twice() -> Any:
    x = tf.constant(X)
    with tf.Session() as session:
        ours, plain = session.run(
            [tf.gradients(recompute_grad(tf.multiply)(x, x), x), tf.gradients(x * x, x)]
        )
    return np.array_equal(ours, plain)


LAYER = "test/revblock/revlayer_"
NEITHER = [False, False]
TABLE: dict[str, tuple[Callable[[], Any], Any]] = {
    "names number blocks, layers and f, g": (
        names_of_two_blocks,
        [
            *(f"{LAYER}{i}/{role}/dense/kernel:0" for i in (0, 1) for role in "fg"),
            *(f"test/revblock_1/revlayer_0/{role}/dense/kernel:0" for role in "fg"),
        ],
    ),
    "variables are resource variables": (kinds_of_variables, {"ResourceVariable"}),
    "outputs are those of IdentityN, or the sums": (
        names_of_outputs,
        [
            *("test/revblock/IdentityN:0", "test/revblock/IdentityN:1"),
            *("test/revblock_1/add:0", "test/revblock_1/add_1:0"),
        ],
    ),
    "outputs have the types of upstream's": (types_of_outputs, ["IdentityN", "AddV2"]),
    "variables are in the usual collections": (collections, [8, 8]),
    "a block lists its weights": (weights_of_a_block, (8, 8, 0)),
    "reuse=True works": (functools.partial(reuse_with, True), 4),
    "AUTO_REUSE works": (functools.partial(reuse_with, tf.AUTO_REUSE), 4),
    "the same scope twice is refused": (
        functools.partial(reuse_with, None),
        Raises(ValueError, "revblock/revlayer_0/f/dense/kernel already exists, disallowed"),
    ),
    "getter and regularizer act once": (getter_and_regularizer, (4, 4, 4, 4)),
    "a list of another length is refused": (
        lambda: block(3, [dense, dense]),
        Raises(AssertionError, "2 functions were passed as f for num_layers=3"),
    ),
    "a tuple of functions is a list (bug)": (
        lambda: len(block(2, (tf.tanh, tf.sin), (tf.sin, tf.tanh))),
        2,
    ),
    "no layer at all hands on its input (bug)": (lambda: len(block(0)), 2),
    "partial functions and layers are functions": (
        lambda: missing(block(1, functools.partial(tf.multiply, 2.0), core_layers.Dense(8)), []),
        [],
    ),
    "one layer object for all layers": (
        one_layer_object_for_all,
        (["revblock/revlayer_0/f/dense/kernel:0", "revblock/revlayer_0/f/dense/bias:0"], NEITHER),
    ),
    "variables follow the type of the input": (
        types_that_variables_follow,
        [(name, name) for name in ("float16", "bfloat16", "float64")],
    ),
    "arrays are taken": (lambda: rev_block(X, X, dense, dense)[0].shape.as_list(), [4, 8]),
    "the batch may be unknown": (unknown_batch, (4, 8)),
    "another shape is refused": (
        lambda: block(1, lambda x: dense(x, 9)),
        Raises(ValueError, "must keep the shape"),
    ),
    "side inputs are passed as a list": (side_input_is_a_list, [list]),
    "an empty list of side inputs is none": (
        lambda: len(block(1, tf.tanh, tf.tanh, f_side_input=[])),
        2,
    ),
    "integer and unused side inputs take no gradient": (
        integer_and_unused_side_inputs,
        [False, True, True],
    ),
    "unused variables take no gradient": (unused_and_frozen_variables, [True]),
    "every way to decorate": (every_way_to_decorate, [[4, 8]] * 4),
    "what is no tensor is refused": (
        lambda: recompute_grad(tf.tanh)(1.0),
        Raises(ValueError, "All inputs to function must be Tensors"),
    ),
    "keywords are taken (bug)": (
        lambda: recompute_grad(lambda x, by=1.0: x * by)(tf.constant(X), by=2.0).shape.as_list(),
        [4, 8],
    ),
    "no argument at all is fine": (
        lambda: recompute_grad(lambda: tf.constant(1.0))().shape.as_list(),
        [],
    ),
    "structures are kept": (structures, ["tuple", "list", "tuple", "dict"]),
    "is_recomputing is told": (told, [False, True]),
    "is_recomputing may be keyword-only": (told_by_keyword_only, [False, True]),
    "any keyword is not is_recomputing": (not_told_by_any_keyword, [False]),
    "the same tensor twice is correct": (same_tensor_twice, True),
    "reference variables are taken (bug)": (reference_variables, [False]),
    "closing over a tensor is refused": (closes_over, Raises(ValueError, "closes over Tensor")),
    "a tensor in a list gets its gradient (bug)": (closes_over_a_list, [False]),
    "callable objects are functions (bug)": (callable_object, [False]),
    "two calls that make different variables are refused": (
        lambda: twice_in_one_scope(dense),
        Raises(ValueError, "called twice in the same enclosing scope"),
    ),
    "two calls that share variables work": (twice_under_one_name, NEITHER),
    "recomputed ops wait in a scope of their own": (
        scopes_of_recomputed_ops,
        ["G/gradients/grad_ys_0"],
    ),
}


@pytest.mark.parametrize("statement", TABLE)
def test_row(statement: str) -> None:
    run, want = TABLE[statement]
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        if not isinstance(want, Raises):
            assert run() == want
            return
        with pytest.raises(want.kind, match=want.phrase) as caught:
            run()
        assert isinstance(caught.value, GraphrevError) or "already exists" in str(caught.value)
