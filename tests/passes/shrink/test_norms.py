"""Batch norms of constants become a bias behind their convolution, when that is asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev.passes import Shrink
from tests.passes.shrink.nets import Build, Net, built, codes, fed, outputs, shapes, shrunk, tf
from tests.passes.shrink.test_ops import EVERY


def ops(graph_def: Any) -> Counter[str]:
    return Counter(node.op for node in graph_def.node)


def block(net: Net, x: Any) -> Any:
    x = tf.nn.relu(net.norm(net.conv(x, 6, [1, 4], name="a")))
    y = net.norm(net.conv(x, 6, [1, 4], name="c"))
    return net.conv(tf.nn.relu(x + y), 5, size=1, name="b")


def test_kernel_takes_the_scale_and_the_rest_is_a_bias() -> None:
    before = built(block)
    after, plan = shrunk(before, fold_norms=True)
    assert ops(after)["FusedBatchNormV3"] == 0
    assert ops(after)["BiasAdd"] == 2 + len(plan.biases)
    assert len(plan.norms) == 2 and plan.to_json()["norms_folded"] == 2
    assert "2 batch norms folded" in plan.summary()
    assert not plan.rejections or {r.code.value for r in plan.rejections} == {"channels_kept"}


def test_parameters_are_counted_without_those_of_the_norms() -> None:
    after, plan = shrunk(built(block), fold_norms=True)
    assert plan.after.parameters == sum(int(np.prod(dims)) for dims in shapes(after).values())


def test_a_graph_without_dead_channels_is_folded_too() -> None:
    def living(net: Net, x: Any) -> Any:
        return tf.nn.relu(net.norm(net.conv(x, 6, name="a")))

    after, plan = shrunk(built(living), fold_norms=True)
    assert plan.removed == 0 and len(plan.norms) == 1 and not plan.kernels
    assert ops(after) == {"Placeholder": 1, "Const": 2, "Conv2D": 1, "BiasAdd": 1, "Relu": 1,
                          "Identity": 1}  # fmt: skip


def test_norms_stay_unless_asked_for() -> None:
    after, plan = shrunk(built(block))
    assert ops(after)["FusedBatchNormV3"] == 2 and plan.norms == ()


@pytest.mark.parametrize("net", EVERY, ids=lambda net: net.__name__)
def test_outputs_stay_whatever_surrounds_the_norms(net: Build) -> None:
    plain, folded = (shrunk(built(net), fold_norms=fold)[1] for fold in (False, True))
    assert (folded.removed, folded.carriers) == (plain.removed, plain.carriers)


def test_depthwise_kernels_take_the_scale_of_each_filter() -> None:
    def deep(net: Net, x: Any) -> Any:
        y = net.conv(x, 6, [1, 4], name="a")
        w = net.kernel([3, 3, 6, 2])
        y = net.norm(tf.nn.depthwise_conv2d_native(y, w, [1, 1, 1, 1], "SAME"))
        return net.conv(tf.nn.relu(y), 5, size=1, name="b")

    after, plan = shrunk(built(deep), fold_norms=True)
    assert len(plan.norms) == 1 and ops(after)["FusedBatchNormV3"] == 0


def test_volumes_and_transposed_convolutions_are_folded() -> None:
    def both(net: Net, x: Any) -> Any:
        w = tf.constant(net.rng.normal(size=[3, 3, 4, 3]).astype(np.float32))
        shape = tf.stack([tf.shape(x)[0], 16, 16, 4])
        return tf.nn.relu(net.norm(tf.nn.conv2d_transpose(x, w, shape, [1, 2, 2, 1])))

    _, plan = shrunk(built(both), fold_norms=True)
    assert len(plan.norms) == 1


def test_the_bias_has_the_name_of_the_norm_with_its_readers_and_followers() -> None:
    with tf.Graph().as_default() as graph:
        net = Net()
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        norm = net.norm(net.conv(x, 6, name="a"))
        with tf.control_dependencies([norm]):
            late = tf.reduce_sum(tf.identity(x, name="late"))
        tf.add(tf.nn.relu(norm), late, name="y")
    before = graph.as_graph_def()
    after, _ = shrunk(before, fold_norms=True)
    found = next(node for node in after.node if node.name == norm.op.name)
    assert found.op == "BiasAdd"
    late = next(node for node in after.node if node.name == "late")
    assert f"^{norm.op.name}" in late.input
    want, got = (outputs(one, fed(before), norm.name) for one in (before, after))
    np.testing.assert_allclose(got, want, atol=1e-5)


def shared_kernel(net: Net, x: Any) -> Any:
    w = net.kernel([3, 3, 3, 3])
    y = net.norm(tf.nn.conv2d(x, w, 1, "SAME"))
    return tf.nn.conv2d(tf.nn.relu(y), w, 1, "SAME")


def read_between(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, name="a")
    return net.norm(y) + y


def computed(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, name="a")
    ones = tf.ones([6])
    mean = tf.reduce_mean(x) * ones
    return tf.nn.fused_batch_norm(y, ones, ones, mean, ones, is_training=False)[0]


def opted_out(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, name="a")
    with gr.no_rewrite():
        return net.norm(y)


def of_half_precision(net: Net, x: Any) -> Any:
    w = tf.cast(net.kernel([3, 3, 3, 6]), tf.float16)
    y = tf.nn.conv2d(tf.cast(x, tf.float16), w, 1, "SAME")
    return tf.cast(net.norm(y), tf.float32)


def infinite(net: Net, x: Any) -> Any:
    y, zero = net.conv(x, 6, name="a"), tf.constant(np.zeros(6, np.float32))
    scale = tf.constant(np.full(6, 3e38, np.float32))
    small = tf.constant(np.full(6, 1e-6, np.float32))
    return tf.nn.fused_batch_norm(y * 0, scale, zero, zero, small, is_training=False)[0] + (
        tf.nn.fused_batch_norm(net.conv(x, 6, name="c"), scale, zero, zero, small,
                               is_training=False)[0] * 0
    )  # fmt: skip


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (shared_kernel, "no constant of its own"),
        (read_between, "something else reads"),
        (computed, "not constants"),
        (opted_out, "no_rewrite"),
        (of_half_precision, "not float32"),
        (infinite, "not be finite"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_norm_that_cannot_be_folded_is_named_with_the_reason(net: Build, why: str) -> None:
    before = built(net)
    result = gr.rewrite(before, [Shrink(fold_norms=True)])
    found = [r for r in result.report.steps[0].plan.rejections if r.code.value == "norm_kept"]
    assert len(found) == 1 and why in found[0].reason
    assert not result.changed


def test_what_is_fed_or_fetched_by_name_is_not_folded() -> None:
    before = built(lambda net, x: tf.nn.relu(net.norm(net.conv(x, 6, name="a"))))
    norm = next(node for node in before.node if node.op == "FusedBatchNormV3")
    for name in (*norm.input[:5], norm.name):
        named = (name,)
        for one in (Shrink(fold_norms=True, fed=named), Shrink(fold_norms=True, fetched=named)):
            result = gr.rewrite(before, [one])
            assert not result.changed
            assert ("norm_kept", norm.name) in codes(result.report.steps[0].plan.rejections)


def test_norms_in_training_mode_are_none_of_its_business() -> None:
    def training(net: Net, x: Any) -> Any:
        y, one = net.conv(x, 6, name="a"), net.vector(6)
        return tf.nn.fused_batch_norm(y, one, one, is_training=True)[0]

    result = gr.rewrite(built(training), [Shrink(fold_norms=True)])
    assert not result.changed and result.report.steps[0].plan.rejections == ()
