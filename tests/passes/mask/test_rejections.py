"""A graph for every rejection code of the mask pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import graphrev
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.nets import snapshot, tf
from tests.passes.mask.nets import built, convolutions, mask, variable

Case = tuple[Graph, dict[str, Any]]


def frozen() -> Case:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 3], "x")
        tf.matmul(x, tf.constant([[1.0, 2.0]] * 3, name="w"))
        return snapshot(graph), {}


def computed() -> Case:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [2, 5, 5, 3], "x")
        w = variable("w", [3, 3, 3, 4])
        return tf.nn.conv2d(x, tf.nn.l2_normalize(w), 1, "SAME")

    return built(build), {}


def shape_unknown() -> Case:
    def build() -> Any:
        start = tf.placeholder_with_default(tf.ones([3, 2]), [None, 2])
        w = tf.Variable(start, validate_shape=False, name="w", use_resource=False)
        return tf.matmul(tf.placeholder(tf.float32, [4, 3], "x"), w)

    return built(build), {}


def too_small() -> Case:
    return built(convolutions), {"min_size": 150}


def looked_up() -> Case:
    def build() -> Any:
        w = variable("w", [10, 4])
        found = tf.nn.embedding_lookup(w, tf.placeholder(tf.int32, [3], "x"))
        return tf.matmul(found, w, transpose_b=True)

    return built(build), {}


def kept_dense() -> Case:
    return built(convolutions), {"first": "dense", "last": "dense"}


def not_selected() -> Case:
    return built(convolutions), {"exclude": ("^f1/",)}


def not_trained() -> Case:
    def build() -> Any:
        data = tf.get_variable("data", initializer=tf.ones([4, 3]), trainable=False)
        return tf.matmul(data, variable("w", [3, 2]))

    return built(build), {}


def gradient_unclear() -> Case:
    """Two kernels read the same fed data, their gradients are summed, input gradients pruned."""

    def build() -> Any:
        x = tf.placeholder(tf.float32, [4, 3], "x")
        first, second = variable("a", [3, 2]), variable("b", [3, 2])
        loss = tf.reduce_sum(tf.tanh(tf.matmul(x, first)) * tf.matmul(x, second))
        grads = tf.gradients(loss, [first, second])
        both = tf.add_n(grads)
        tf.train.GradientDescentOptimizer(0.1).apply_gradients([(both, first), (both, second)])
        return loss

    graph = built(build, train=False)
    pruned = ("gradients/MatMul_grad/MatMul", "gradients/MatMul_1_grad/MatMul")
    return Graph.of(node for node in graph.nodes.values() if node.name not in pruned), {}


def already_masked() -> Case:
    return mask(built(convolutions))[0].after, {}


def opted_out() -> Case:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [4, 3], "x")
        with graphrev.no_rewrite():
            return tf.matmul(x, variable("w", [3, 2]))

    return built(build), {}


CASES: dict[Code, Callable[[], Case]] = {
    Code.KERNEL_IS_CONSTANT: frozen,
    Code.KERNEL_IS_COMPUTED: computed,
    Code.KERNEL_SHAPE_UNKNOWN: shape_unknown,
    Code.KERNEL_TOO_SMALL: too_small,
    Code.KERNEL_SHARED: looked_up,
    Code.KEPT_DENSE: kept_dense,
    Code.NOT_SELECTED: not_selected,
    Code.NOT_TRAINED: not_trained,
    Code.GRADIENT_UNCLEAR: gradient_unclear,
    Code.ALREADY_REWRITTEN: already_masked,
    Code.OPTED_OUT: opted_out,
}


@pytest.mark.parametrize("code", CASES, ids=lambda code: code.value)
def test_code_is_given_with_its_nodes(code: Code) -> None:
    graph, options = CASES[code]()
    outcome, plan = mask(graph, **options)
    given = [r for r in plan.rejections if r.code is code]
    assert given, [(r.code.value, r.reason) for r in plan.rejections]
    assert all(name in graph for r in given for name in r.nodes)
    assert all(r.nodes and r.reason.endswith(".") for r in given)
    assert (outcome.after is graph) == (not plan.kernels)


def test_shared_first_layer_is_told_apart_by_the_update_it_leads_to() -> None:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [4, 3], "x")
        return tf.reduce_sum(
            tf.tanh(tf.matmul(x, variable("a", [3, 2]))) * tf.matmul(x, variable("b", [3, 2]))
        )

    _, plan = mask(built(build))
    assert [len(kernel.gradients) for kernel in plan.kernels] == [1, 1]


def test_second_run_changes_nothing() -> None:
    after = mask(built(convolutions))[0].after
    again, _ = mask(after)
    assert again.after is after
