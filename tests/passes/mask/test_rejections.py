"""A graph for every rejection code of the mask pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow

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


def too_large() -> Case:
    """A graph of four lines that asks for 10 GB is no reason to fail."""

    def build() -> Any:
        w = tf.Variable(tf.zeros([5, 2**29]), name="w", use_resource=True)
        return tf.matmul(tf.placeholder(tf.float32, [4, 5], "x"), w)

    return built(build), {}


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
    Code.KERNEL_TOO_LARGE: too_large,
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


def scaled(h: Any, w: Any) -> Any:
    return tf.matmul(h, w * 2.0)


def normalized(h: Any, w: Any) -> Any:
    """Spectral normalization: two products find the norm, a third reads the quotient."""
    u = tf.ones([1, 3])
    v = tf.nn.l2_normalize(tf.matmul(u, w, transpose_b=True))
    return tf.matmul(h, w / tf.squeeze(tf.matmul(tf.matmul(v, w), u, transpose_b=True)))


def moved(h: Any, w: Any) -> Any:
    """A gradient step inside the graph."""
    return tf.matmul(h, w - 0.1 * tf.gradients(tf.matmul(h, w), w)[0])


def carried(h: Any, w: Any) -> Any:
    """A loop variable that starts as the kernel."""

    def body(step: Any, h: Any, w: Any) -> Any:
        return step + 1, tf.matmul(h, w), w * 0.5

    return tf.while_loop(lambda step, *_: step < 2, body, [0, h, w])[1]


def chosen(h: Any, w: Any) -> Any:
    return tf.matmul(h, tf.cond(tf.reduce_sum(h) > 0, lambda: w, lambda: -w))


def called(h: Any, w: Any) -> Any:
    return tensorflow.function(lambda x: tf.matmul(x, w))(h)


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("use", [scaled, normalized, moved, carried, chosen, called])
def test_kernel_that_another_product_reads_changed_is_left_alone(use: Any, resource: bool) -> None:
    """Half of its weights would still be there, behind the mask's back."""

    def build() -> Any:
        w = variable("w", [3, 3], resource=resource)
        h = tf.tanh(tf.matmul(tf.placeholder(tf.float32, [4, 3], "x"), w))
        return tf.reduce_sum(tf.matmul(use(h, w), variable("v", [3, 2])))

    if use is called and not resource:
        pytest.skip("functions capture resource variables only")
    tf.disable_control_flow_v2()
    _, plan = mask(built(build))
    assert [kernel.variable for kernel in plan.kernels] == ["v"]
    assert ("w", Code.KERNEL_SHARED) in [(r.nodes[0], r.code) for r in plan.rejections]


def test_what_a_regularizer_computes_from_a_kernel_does_not_matter() -> None:
    def build() -> Any:
        w = variable("w", [3, 2])
        y = tf.matmul(tf.placeholder(tf.float32, [4, 3], "x"), w)
        return tf.reduce_sum(y**2) + tf.reduce_sum(tf.abs(w * 0.1)) + tf.nn.l2_loss(w)

    _, plan = mask(built(build))
    assert [kernel.variable for kernel in plan.kernels] == ["w"] and not plan.rejections


def test_matrix_product_with_computed_weights_is_accounted_for() -> None:
    def build() -> Any:
        h = tf.matmul(tf.placeholder(tf.float32, [4, 3], "x"), variable("w", [3, 3]))
        return tf.matmul(h, tf.nn.l2_normalize(variable("v", [3, 2])), name="y")

    _, plan = mask(built(build))
    found = [r.nodes[0] for r in plan.rejections if r.code is Code.KERNEL_IS_COMPUTED]
    assert found == ["y"]


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
