"""Channels that are all zero go through every kind of op, and outputs stay what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.shrink.nets import Build, Net, built, shapes, shrunk, tf


def plain(net: Net, x: Any) -> Any:
    return net.conv(net.conv(x, 6, [1, 4], name="a"), 5, name="b")


def with_bias(net: Net, x: Any) -> Any:
    y = tf.nn.relu(net.bias(net.conv(x, 6, [1, 4], name="a")))
    return net.bias(net.conv(y, 5, size=1, name="b"))


def with_added_bias(net: Net, x: Any) -> Any:
    y = tf.nn.relu6(net.conv(x, 6, [1, 4], name="a") + net.vector(6))
    return tf.nn.elu(net.conv(y, 5, padding="VALID", name="b") + net.vector(5))


def with_norm(net: Net, x: Any) -> Any:
    y = tf.nn.leaky_relu(net.norm(net.conv(x, 6, [1, 4], name="a")))
    return net.norm(net.conv(y, 5, size=1, stride=2, name="b"))


def without_any_bias(net: Net, x: Any) -> Any:
    y = tf.sigmoid(net.norm(net.conv(x, 6, [1, 4], name="a")))
    return tf.tanh(net.conv(y, 5, size=1, name="b"))


def unfused_norm(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, [1, 4], name="a")
    mean, variance = net.vector(6), net.vector(6, positive=True)
    y = tf.nn.batch_normalization(y, mean, variance, net.vector(6), net.vector(6), 1e-3)
    return net.conv(tf.nn.softplus(y), 5, size=1, name="b")


def pooled(net: Net, x: Any) -> Any:
    y = net.norm(net.conv(x, 6, [1, 4], name="a"))
    y = tf.nn.avg_pool2d(tf.nn.max_pool2d(y, 3, 2, "SAME"), 3, 1, "SAME")
    return net.conv(y, 5, size=1, name="b")


def depthwise(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, [1, 4], name="a")
    w = net.kernel([3, 3, 6, 1])
    y = net.bias(tf.nn.depthwise_conv2d_native(y, w, [1, 1, 1, 1], "SAME"))
    return net.conv(tf.nn.relu(y), 5, size=1, name="b")


def depthwise_twice(net: Net, x: Any) -> Any:
    y = net.bias(net.conv(x, 6, [1, 4], name="a"))
    w = net.kernel([3, 3, 6, 2])
    y = tf.nn.depthwise_conv2d_native(y, w, [1, 1, 1, 1], "VALID")
    return net.conv(y, 5, size=1, name="b")


def dead_depthwise(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, name="a")
    w = net.rng.normal(size=[3, 3, 6, 1]).astype(np.float32)
    w[:, :, [1, 4]] = 0
    y = net.bias(tf.nn.depthwise_conv2d_native(y, tf.constant(w), [1, 1, 1, 1], "SAME"))
    return net.conv(y, 5, size=1, name="b")


def joined(net: Net, x: Any) -> Any:
    y, z = net.conv(x, 6, [1, 4], name="a"), net.conv(x, 3, [0], name="c")
    return net.conv(tf.nn.relu(net.norm(tf.concat([y, z, y], 3))), 5, size=1, name="b")


def parted(net: Net, x: Any) -> Any:
    y, z = tf.split(net.conv(x, 12, [1, 4, 7], name="a"), 2, axis=3)
    return net.conv(y, 5, name="b") + net.conv(z, 5, name="c")


def parted_by_size(net: Net, x: Any) -> Any:
    y, z = tf.split(net.conv(x, 12, [1, 4, 7], name="a"), [5, 7], axis=3)
    return net.conv(y, 5, name="b") + net.conv(z, 5, name="c")


def residual(net: Net, x: Any) -> Any:
    x = net.norm(net.conv(x, 6, [1, 4], name="a"))
    y = net.norm(net.conv(tf.nn.relu(x), 6, [1, 4], name="c"))
    z = net.conv(tf.nn.relu(x), 6, [1, 4], size=1, name="d")
    return net.conv(tf.nn.relu(tf.add_n([x, y, z])), 5, size=1, name="b")


def flattened(net: Net, x: Any) -> Any:
    y = tf.nn.relu(net.bias(net.conv(x, 6, [1, 4], stride=4, name="a")))
    return net.dense(tf.reshape(y, [-1, 24]), 5, name="b")


def flattened_by_shape(net: Net, x: Any) -> Any:
    y = tf.nn.relu(net.bias(net.conv(x, 6, [1, 4], stride=4, name="a")))
    y = tf.reshape(y, tf.stack([tf.shape(y)[0], 24]))
    return net.dense(y, 5, name="b")


def unflattened(net: Net, x: Any) -> Any:
    y = tf.reshape(net.bias(net.conv(x, 6, [1, 4], stride=4, name="a")), [-1, 24])
    return net.conv(tf.reshape(tf.nn.relu(y), [-1, 2, 2, 6]), 5, size=1, name="b")


def averaged(net: Net, x: Any) -> Any:
    y = tf.reduce_mean(net.norm(net.conv(x, 6, [1, 4], name="a")), [1, 2])
    return net.dense(y, 5, name="b")


def squeezed(net: Net, x: Any) -> Any:
    y = tf.reduce_max(net.norm(net.conv(x, 6, [1, 4], name="a")), [1, 2], keepdims=True)
    y = tf.expand_dims(tf.squeeze(y, [1, 2]), 1)
    return net.dense(tf.squeeze(y, [1]), 5, name="b")


def padded(net: Net, x: Any) -> Any:
    y = tf.pad(net.conv(x, 6, [1, 4], name="a"), [[0, 0], [1, 1], [1, 1], [0, 0]])
    return net.conv(y, 5, padding="VALID", name="b")


def padded_constants(net: Net, x: Any) -> Any:
    """A border of zeros around what is constant: one channel carries the others through it."""
    y = tf.nn.sigmoid(net.norm(net.conv(x, 6, [1, 4], name="a")))
    y = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return net.norm(net.conv(y, 5, padding="VALID", stride=2, name="b"))


def transposed(net: Net, x: Any) -> Any:
    y = tf.transpose(net.bias(net.conv(x, 6, [1, 4], name="a")), [0, 3, 1, 2])
    return net.conv(tf.transpose(tf.nn.relu(y), [0, 2, 3, 1]), 5, size=1, name="b")


def resized(net: Net, x: Any) -> Any:
    y = tf.image.resize_nearest_neighbor(net.norm(net.conv(x, 6, [1, 4], name="a")), [16, 16])
    return net.conv(y, 5, size=1, name="b")


def gated(net: Net, x: Any) -> Any:
    y = net.norm(net.conv(x, 6, [1, 4], name="a")) * 0.0 + net.conv(x, 6, [1, 4], name="c")
    gate = tf.sigmoid(net.dense(tf.reduce_mean(y, [1, 2]), 6, name="gate"))
    return net.conv(y * tf.reshape(gate, [-1, 1, 1, 6]), 5, name="b")


def dilated(net: Net, x: Any) -> Any:
    y = tf.space_to_batch_nd(net.conv(x, 6, [1, 4], name="a"), [2, 2], [[2, 2], [2, 2]])
    y = tf.batch_to_space_nd(net.conv(y, 5, padding="VALID", name="c"), [2, 2], [[0, 0], [0, 0]])
    return net.conv(y, 5, size=1, name="b")


def upsampled(net: Net, x: Any) -> Any:
    y = tf.nn.relu(net.norm(net.conv(x, 6, [1, 4], name="a")))
    w = tf.constant(net.rng.normal(size=[3, 3, 5, 6]).astype(np.float32))
    shape = tf.stack([tf.shape(x)[0], 16, 16, 5])
    return net.conv(tf.nn.conv2d_transpose(y, w, shape, [1, 2, 2, 1]), 4, size=1, name="b")


def one_axis(net: Net, x: Any) -> Any:
    x = tf.reshape(x, [-1, 64, 3])
    y = tf.nn.relu(
        tf.nn.bias_add(tf.nn.conv1d(x, net.kernel([3, 3, 6], [1, 4]), 1, "SAME"), net.vector(6))
    )
    return tf.nn.conv1d(y, net.kernel([1, 6, 5]), 1, "SAME")


def three_axes(net: Net, x: Any) -> Any:
    x = tf.reshape(x, [-1, 4, 4, 4, 3])
    y = tf.nn.relu(tf.nn.conv3d(x, net.kernel([3, 3, 3, 3, 6], [1, 4]), [1] * 5, "SAME"))
    return tf.nn.conv3d(y, net.kernel([1, 1, 1, 6, 5]), [1] * 5, "SAME")


def over_time(net: Net, x: Any) -> Any:
    """A dense layer on three axes, as ``tf.tensordot`` builds it."""
    y = tf.reshape(x, [-1, 3])
    y = tf.reshape(tf.nn.relu(net.dense(y, 6, [1, 4], name="a")), [-1, 64, 6])
    return net.dense(tf.reshape(y, [-1, 6]), 5, name="b")


def flipped(net: Net, x: Any) -> Any:
    y = tf.reshape(x, [-1, 192])
    w = tf.constant(np.transpose(net.rng.normal(size=[192, 6])).astype(np.float32) * DEAD)
    y = tf.nn.relu(tf.nn.bias_add(tf.matmul(y, w, transpose_b=True), net.vector(6)))
    return net.dense(y, 5, name="b")


DEAD = np.array([[1], [0], [1], [1], [0], [1]], np.float32)
EVERY: list[Build] = [
    plain, with_bias, with_added_bias, with_norm, without_any_bias, unfused_norm, pooled,
    depthwise, depthwise_twice, dead_depthwise, joined, parted, parted_by_size, residual,
    flattened, flattened_by_shape, unflattened, averaged, squeezed, padded, padded_constants,
    transposed, resized, gated, dilated, upsampled, one_axis, three_axes, over_time, flipped,
]  # fmt: skip


@pytest.mark.parametrize("net", EVERY, ids=lambda net: net.__name__)
def test_dead_filters_go_and_outputs_stay(net: Build) -> None:
    before = built(net)
    after, plan = shrunk(before)
    carriers = plan.carriers
    expected = {"joined": 3, "parted": 3, "parted_by_size": 3}.get(net.__name__, 2)
    assert plan.removed + carriers == expected
    assert carriers == (1 if net in (upsampled, residual, padded_constants) else 0)
    assert plan.after.parameters < plan.before.parameters
    assert sum(map(np.prod, shapes(after).values())) < sum(map(np.prod, shapes(before).values()))


def channels_first(net: Net, x: Any) -> Any:
    y = net.norm(net.conv(x, 6, [1, 4], name="a"))
    y = tf.reduce_mean(net.bias(net.conv(tf.nn.relu(y), 6, [2], size=1, name="c")), [2, 3])
    return net.dense(y, 5)


def test_channels_first_is_cut_along_axis_1() -> None:
    """TensorFlow's CPU kernels want channels last, so only structure and constants are compared."""
    import graphrev as gr

    before = built(channels_first, (None, 3, 8, 8), data_format="NCHW")
    result = gr.rewrite(before, "shrink")
    found = shapes(result.graph_def)
    assert found["a/w"] == [3, 3, 3, 4]
    assert found["c/w"] == [1, 1, 4, 5]
    assert found["dense/w"] == [5, 5]
