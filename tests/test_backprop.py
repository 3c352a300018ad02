"""The gradients of a copied region are those of ``tf.gradients``, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev.backprop import differentiate
from tests.nets import batch, tf

Build = Callable[[Any, Any], Any]


def dense(x: Any, w: Any) -> Any:
    return tf.tanh(tf.matmul(x, w))


def three_uses(x: Any, w: Any) -> Any:
    h = dense(x, w)
    return h * dense(h, w) + tf.sin(h) + x


def batch_norm(x: Any, w: Any) -> Any:
    image = tf.reshape(dense(x, w), [4, 2, 2, 2])
    image, mean, _ = tf.nn.fused_batch_norm(image, tf.reduce_sum(w) * tf.ones([2]), w[0, :2])
    return tf.reshape(image, [4, 8]) * tf.reduce_sum(mean)


def rows(x: Any, w: Any) -> Any:
    picked = tf.gather(w, [1, 1, 3, 5]) + tf.gather(w, [0, 1, 2, 2])
    return x * picked


def an_index_from_far_away(x: Any, w: Any) -> Any:
    return tf.gather(dense(x, w), tf.argmax(x, axis=1) % 4)


def a_stop(x: Any, w: Any) -> Any:
    return dense(x, w) * tf.stop_gradient(dense(x, w)) + tf.round(x)


def a_split(x: Any, w: Any) -> Any:
    left, _ = tf.split(dense(x, w), 2, axis=1)
    return left * left


def not_reached(x: Any, w: Any) -> Any:
    return tf.ones_like(x) * 2.0


def a_branch(x: Any, w: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: dense(x, w), lambda: tf.sin(x))


def a_function(x: Any, w: Any) -> Any:
    return tensorflow.function(dense)(x, w)


BUILDS = [
    three_uses,
    batch_norm,
    rows,
    an_index_from_far_away,
    a_stop,
    a_split,
    not_reached,
    a_branch,
    a_function,
]


@pytest.mark.parametrize("build", BUILDS)
def test_gradients_are_bitwise_those_of_tensorflow(build: Build) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x, w = tf.constant(batch()), tf.constant(batch(8) * 0.3)
        y = build(x, w)
        grad_y = tf.cos(tf.identity(y))
        plain = tf.gradients(y, [x, w], [grad_y])
        ours = differentiate([y], [grad_y], [x, w], "mine", colocated=False)
        assert [grad is None for grad in ours] == [grad is None for grad in plain]
        for first, second in zip(plain, ours):
            if first is not None:
                values = session.run([tf.convert_to_tensor(g) for g in (first, second)])
                np.testing.assert_array_equal(*values)


def test_no_zeros_are_made_for_outputs_that_the_gradient_ignores() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.ones([4, 2, 2, 2])
        y, _, _ = tf.nn.fused_batch_norm(x, tf.ones([2]), tf.zeros([2]))
        differentiate([y], [tf.ones_like(y)], [x], "mine", colocated=False)
        assert not [op for op in graph.get_operations() if op.type == "ZerosLike"]
        assert [op for op in graph.get_operations() if op.name.startswith("mine/")]


def test_an_op_without_a_gradient_is_named() -> None:
    with tf.Graph().as_default():
        x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        y = tf.raw_ops.Bucketize(input=x, boundaries=[1.0])
        y = tf.cast(y, tf.float32) * tf.raw_ops.LogMatrixDeterminant(input=x)[1]
        differentiate([y], [tf.ones_like(y)], [x], "mine", colocated=False)
        z = tf.raw_ops.NonMaxSuppressionV5(
            boxes=tf.tile(x, [1, 2]),
            scores=x[0],
            max_output_size=1,
            iou_threshold=0.5,
            score_threshold=0.0,
            soft_nms_sigma=0.0,
        ).selected_scores
        with pytest.raises(LookupError):
            differentiate([z], [tf.ones_like(z)], [x], "mine", colocated=False)
