"""What stays: channels that are used, blocked or needed, each with the node that stops them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev.errors import UsageError
from graphrev.passes import Shrink
from graphrev.passes.shrink import ShrinkPlan
from graphrev.pipeline import Code
from tests.passes.shrink.nets import Build, Net, built, codes, shapes, shrunk, tf


def residual_of_the_living(net: Net, x: Any) -> Any:
    x = net.conv(x, 6, name="a")
    y = net.conv(x, 6, [1, 4], name="c")
    return net.conv(tf.add(x, y, name="sum"), 5, size=1, name="b")


def fetched(net: Net, x: Any) -> Any:
    return net.conv(x, 6, [1, 4], name="a")


def softmaxed(net: Net, x: Any) -> Any:
    y = tf.nn.softmax(net.conv(x, 6, [1, 4], name="a"), name="softmax")
    return net.conv(y, 5, size=1, name="b")


def shuffled(net: Net, x: Any) -> Any:
    y = tf.reshape(net.conv(x, 6, [1, 4], name="a"), [-1, 8, 8, 2, 3], name="shuffle")
    y = tf.reshape(tf.transpose(y, [0, 1, 2, 4, 3]), [-1, 8, 8, 6])
    return net.conv(y, 5, size=1, name="b")


def counted(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, [1, 4], name="a")
    count = tf.cast(tf.shape(y)[3], tf.float32, name="count")
    return net.conv(y, 5, size=1, name="b") / count


def branched(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, [1, 4], name="a")
    y, _ = tf.raw_ops.Switch(data=y, pred=tf.constant(False), name="switch")
    return net.conv(y, 5, size=1, name="b")


def with_the_input(net: Net, x: Any) -> Any:
    y = tf.add(net.conv(x, 3, [1], name="a"), x, name="sum")
    return net.conv(y, 5, size=1, name="b")


def not_rewritten(net: Net, x: Any) -> Any:
    y = net.conv(x, 6, [1, 4], name="a")
    with gr.no_rewrite():
        y = tf.nn.relu(y, name="relu")
    return net.conv(y, 5, size=1, name="b")


def on_the_input(net: Net, x: Any) -> Any:
    w = net.rng.normal(size=[3, 3, 3, 6]).astype(np.float32)
    w[:, :, 1] = 0
    return net.conv(tf.nn.conv2d(x, tf.constant(w, name="w"), 1, "SAME"), 5, name="b")


CASES: dict[str, tuple[Build, Code, str]] = {
    "residual": (residual_of_the_living, Code.CHANNELS_COUPLED, "b/Conv2D"),
    "fetched": (fetched, Code.CHANNELS_FETCHED, "y"),
    "softmax": (softmaxed, Code.CHANNELS_OPAQUE, "softmax"),
    "shuffle": (shuffled, Code.CHANNELS_MIXED, "shuffle"),
    "count": (counted, Code.CHANNELS_MIXED, "strided_slice"),
    "branch": (branched, Code.CHANNELS_OPAQUE, "switch"),
    "input": (with_the_input, Code.CHANNELS_OPAQUE, "sum"),
    "opted out": (not_rewritten, Code.OPTED_OUT, "relu"),
    "fed": (on_the_input, Code.CHANNELS_FED, "x"),
}


@pytest.mark.parametrize("case", CASES)
def test_near_misses_name_the_node_that_stops_them(case: str) -> None:
    net, code, node = CASES[case]
    before = built(net)
    result = gr.rewrite(before, "shrink")
    assert not result.changed
    assert (code.value, node) in codes(result.report.rejections)
    assert result.graph_def == before


def test_a_layer_keeps_one_channel() -> None:
    def net(net: Net, x: Any) -> Any:
        return net.conv(net.conv(x, 4, range(4), name="a"), 5, size=1, name="b")

    after, plan = shrunk(built(net))
    assert shapes(after)["a/w"] == [3, 3, 3, 1]
    assert ("channels_kept", "a/Conv2D") in codes(plan.rejections)


@pytest.mark.parametrize(("multiple", "kept"), [(1, 5), (2, 6), (4, 8), (8, 8), (16, 11)])
def test_channels_are_rounded_up_to_a_multiple_as_far_as_there_are(
    multiple: int, kept: int
) -> None:
    def net(net: Net, x: Any) -> Any:
        y = tf.nn.relu(net.norm(net.conv(x, 11, [0, 2, 3, 5, 8, 10], name="a")))
        return net.conv(y, 5, size=1, name="b")

    after, _ = shrunk(built(net), multiple=multiple)
    assert shapes(after)["a/w"] == [3, 3, 3, kept]
    assert shapes(after)["b/w"] == [1, 1, kept, 5]


def test_fetched_and_fed_tensors_keep_their_channels() -> None:
    def net(net: Net, x: Any) -> Any:
        y = tf.nn.relu(net.norm(net.conv(x, 6, [1, 4], name="a")), name="features")
        return net.conv(y, 5, size=1, name="b")

    before = built(net)
    for options in ({"fetched": ("features:0",)}, {"fed": ("features:0",)}):
        assert not gr.rewrite(before, [Shrink(**options)]).changed
    assert gr.rewrite(before, [Shrink()]).changed
    with pytest.raises(UsageError, match="no tensor 'nothing:0'"):
        gr.rewrite(before, [Shrink(fetched=("nothing:0",))])


def test_a_product_that_is_a_result_is_not_followed_by_a_bias() -> None:
    """Its value is fetched by name: what the removed channels added is put into its weights."""
    with tf.Graph().as_default() as graph:
        net, x = Net(), tf.placeholder(tf.float32, [None, 12], name="x")
        y = tf.nn.sigmoid(net.dense(x, 6, [1, 4, 5], name="a"))
        tf.matmul(y, net.kernel([6, 3]), name="y")
        before = graph.as_graph_def()
    _, plan = shrunk(before)
    assert (plan.removed, plan.carriers) == (2, 1)


def test_unknown_weights_are_taken_for_used() -> None:
    def net(net: Net, x: Any) -> Any:
        y = net.conv(x, 6, [1, 4], name="a")
        w = tf.random.uniform([1, 1, 6, 5], name="w")
        return tf.nn.conv2d(y, w, 1, "SAME")

    assert not gr.rewrite(built(net), "shrink").changed


def test_nan_and_infinite_weights_do_not_count_as_zero() -> None:
    def net(net: Net, x: Any) -> Any:
        w = np.zeros([3, 3, 3, 6], np.float32)
        w[0, 0, 0, 0], w[0, 0, 0, 1], w[..., 2] = np.nan, np.inf, 1
        return net.conv(tf.nn.conv2d(x, tf.constant(w), 1, "SAME"), 5, size=1, name="b")

    result = gr.rewrite(built(net), "shrink")
    plan = result.report.steps[0].plan
    assert isinstance(plan, ShrinkPlan)
    assert not result.changed


def test_damaged_and_boundless_constants_are_left_alone() -> None:
    before = built(residual_of_the_living)
    for dims, content in (([3, 3, 3, 6], b"1"), ([1 << 20, 1 << 20], b""), ([1 << 40], b"")):
        graph = type(before).FromString(before.SerializeToString())
        tensor = next(node for node in graph.node if node.name == "a/w").attr["value"].tensor
        tensor.tensor_content = content
        del tensor.tensor_shape.dim[:]
        for size in dims:
            tensor.tensor_shape.dim.add(size=size)
        assert gr.analyze(graph, "shrink").steps[0].plan.to_json()["channels_removed"] == 0


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple"):
        gr.rewrite(built(fetched), "shrink{multiple=0}")
    with pytest.raises(UsageError, match="Did you mean 'multiple'"):
        gr.rewrite(built(fetched), "shrink{multipel=8}")


def test_a_graph_without_kernels_is_left_alone() -> None:
    with tf.Graph().as_default() as graph:
        tf.identity(tf.nn.relu(tf.placeholder(tf.float32, [2, 3])))
    assert not gr.rewrite(graph.as_graph_def(), "shrink").changed


def test_parts_of_other_ranks_are_left_alone() -> None:
    """TensorFlow refuses to join them; found by fuzzing."""

    def net(net: Net, x: Any) -> Any:
        tf.constant([0.0, 0.0], name="flat")
        y = net.conv(x, 6, [1, 4], name="a")
        return net.conv(tf.concat([y, y], -1, name="joined"), 5, size=1, name="b")

    before = built(net)
    assert gr.rewrite(before, "shrink").changed
    next(node for node in before.node if node.name == "joined").input[1] = "flat"
    assert not gr.rewrite(before, "shrink").changed


def test_a_join_that_does_not_say_of_how_many_and_has_nothing_is_left_alone() -> None:
    """TensorFlow refuses it; found by fuzzing."""

    def net(net: Net, x: Any) -> Any:
        y = net.conv(x, 6, [1, 4], name="a")
        tf.concat([tf.ones([2]), tf.ones([2])], 0, name="joined")
        return net.conv(y, 5, size=1, name="b")

    before = built(net)
    assert gr.rewrite(before, "shrink").changed
    joined = next(node for node in before.node if node.name == "joined")
    del joined.input[:], joined.attr["N"]
    assert gr.rewrite(before, "shrink").changed
