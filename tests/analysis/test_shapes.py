from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.io import encode_graph, load
from graphrev.ir import Graph, Shape, TensorRef
from tests.conftest import FIXTURES, INDEX
from tests.nets import dense, snapshot, tf, training


def agrees(shapes: Shapes, live: Any) -> tuple[int, int, int]:
    """Compares with TensorFlow wherever both know; counts fully known by us, by it, and all."""
    ours = theirs = total = 0
    for operation in live.get_operations():
        for tensor in operation.outputs:
            total += 1
            mine = shapes.of(TensorRef(operation.name, tensor.value_index))
            ours += mine.is_fully_defined
            theirs += tensor.shape.is_fully_defined()
            if mine.dims is None or tensor.shape.dims is None:
                continue
            known = tuple(tensor.shape.as_list())
            assert len(mine.dims) == len(known), (operation.type, tensor.name, mine, known)
            for a, b in zip(mine.dims, known):
                assert a is None or b is None or a == b, (operation.type, tensor.name, mine, known)
    return ours, theirs, total


def imported(graph: Graph) -> Any:
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
    return live


@pytest.mark.parametrize("name", INDEX)
def test_shapes_are_those_tensorflow_infers(name: str) -> None:
    graph = load(FIXTURES / INDEX[name]["file"]).graph
    ours, theirs, total = agrees(infer_shapes(graph), imported(graph))
    assert total > 50
    assert ours >= 0.95 * theirs


@pytest.mark.parametrize("name", ["revnet", "dropout", "sums"])
def test_shapes_of_every_training_tensor_are_known_once_the_batch_is(name: str) -> None:
    graph = load(FIXTURES / INDEX[name]["file"]).graph
    feeds = {
        feed: Shape(tuple(8 if dim < 0 else dim for dim in facts["shape"]))
        for feed, facts in INDEX[name]["feeds"].items()
    }
    shapes = infer_shapes(graph, feeds)
    for name_ in INDEX[name]["gradients"]:
        assert shapes.of(TensorRef(name_.partition(":")[0])).is_fully_defined, name_


def inferred(build: Callable[[Any], Any], shape: Any, feeds: Any = None) -> tuple[Shapes, Any]:
    with tf.Graph().as_default() as live:
        tf.identity(build(tf.placeholder(tf.float32, shape, "x")), name="out")
    shapes = infer_shapes(snapshot(live), feeds)
    agrees(shapes, live)
    return shapes, live


CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "broadcast": (lambda x: x + tf.ones([5, 1, 3]), [4, 1]),
    "matmul": (lambda x: tf.matmul(x, tf.ones([4, 7]), transpose_a=True), [4, 3]),
    "batch matmul": (lambda x: tf.matmul(x, tf.ones([1, 4, 7]), transpose_a=True), [2, 4, 3]),
    "concat": (lambda x: tf.concat([x, x, tf.ones([2, 4])], -1), [2, 3]),
    "split": (lambda x: tf.split(x, 3, -1)[2], [2, 6]),
    "uneven split": (lambda x: tf.split(x, [1, 2, 3], 1)[2], [2, 6]),
    "uneven split with a rest": (lambda x: tf.split(x, [1, -1, 3], 1)[1], [2, 6]),
    "stack": (lambda x: tf.stack([x, x], -1), [2, 3]),
    "unstack": (lambda x: tf.unstack(x, axis=1)[0], [2, 3]),
    "reshape": (lambda x: tf.reshape(x, [3, -1]), [2, 6]),
    "reshape to shape": (lambda x: tf.reshape(x, tf.shape(tf.ones([4, 3]))), [2, 6]),
    "flatten": (lambda x: tf.reshape(x, [tf.shape(x)[0], -1]), [2, 3, 4]),
    "expand": (lambda x: tf.expand_dims(x, -1), [2, 3]),
    "squeeze": (lambda x: tf.squeeze(x), [2, 1, 3, 1]),
    "squeeze one": (lambda x: tf.squeeze(x, [-1]), [2, 1, 3, 1]),
    "transpose": (lambda x: tf.transpose(x, [2, 0, 1]), [2, 3, 4]),
    "tile": (lambda x: tf.tile(x, [2, 3]), [2, 3]),
    "pad": (lambda x: tf.pad(x, [[1, 2], [0, 3]]), [2, 3]),
    "slice": (lambda x: tf.slice(x, [1, 2], [-1, 3]), [4, 6]),
    "strided slice": (lambda x: x[1:-1, ::2], [4, 6]),
    "strided slice with new and lost axes": (lambda x: x[0, tf.newaxis, ..., 1:3], [4, 5, 6]),
    "negative stride": (lambda x: x[::-1, 4:1:-1], [4, 6]),
    "reduce": (lambda x: tf.reduce_sum(x, [0, -1]), [2, 3, 4]),
    "reduce and keep": (lambda x: tf.reduce_mean(x, 1, keepdims=True), [2, 3, 4]),
    "reduce all": (lambda x: tf.reduce_max(x), [2, 3, 4]),
    "argmax": (lambda x: tf.argmax(x, -1), [2, 3]),
    "gather": (lambda x: tf.gather(x, [[0, 1, 1]], axis=1), [2, 3]),
    "gather rows": (lambda x: tf.gather(x, [0, 1, 1]), [2, 3]),
    "one hot": (lambda x: tf.one_hot(tf.argmax(x, 1), 7), [2, 3]),
    "where": (lambda x: tf.where(x > 0, x, -x), [2, 3]),
    "range": (lambda x: tf.range(1, 10, 4), [2]),
    "fill": (lambda x: tf.fill(tf.shape(x) * 2, 1.0), [2, 3]),
    "random": (lambda x: tf.random_uniform(tf.shape(x)), [2, 3]),
    "convolution": (
        lambda x: tf.nn.conv2d(x, tf.ones([3, 2, 3, 5]), [1, 2, 2, 1], "SAME"), [2, 7, 8, 3],
    ),
    "valid convolution": (
        lambda x: tf.nn.conv2d(x, tf.ones([3, 2, 3, 5]), [1, 2, 1, 1], "VALID"), [2, 7, 8, 3],
    ),
    "dilated convolution": (
        lambda x: tf.nn.conv2d(x, tf.ones([3, 3, 3, 5]), [1] * 4, "VALID", dilations=[1, 2, 2, 1]),
        [2, 9, 8, 3],
    ),
    "padded convolution": (
        lambda x: tf.nn.conv2d(x, tf.ones([3, 3, 3, 5]), 2, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        [2, 9, 8, 3],
    ),
    "channels first": (
        lambda x: tf.nn.conv2d(x, tf.ones([3, 3, 3, 5]), [1, 1, 2, 2], "SAME", data_format="NCHW"),
        [2, 3, 9, 8],
    ),
    "depthwise": (
        lambda x: tf.nn.depthwise_conv2d(x, tf.ones([3, 3, 3, 2]), [1] * 4, "VALID"), [2, 7, 8, 3],
    ),
    "transposed convolution": (
        lambda x: tf.nn.conv2d_transpose(x, tf.ones([3, 3, 5, 3]), [2, 14, 16, 5], 2),
        [2, 7, 8, 3],
    ),
    "pooling": (lambda x: tf.nn.max_pool(x, 3, 2, "VALID"), [2, 7, 8, 3]),
    "average pooling": (lambda x: tf.nn.avg_pool(x, 2, 2, "SAME"), [2, 7, 8, 3]),
    "batch norm": (
        lambda x: tf.nn.fused_batch_norm(x, tf.ones([3]), tf.ones([3]))[0], [2, 4, 4, 3],
    ),
    "cross entropy": (
        lambda x: tf.nn.softmax_cross_entropy_with_logits(labels=x, logits=x), [2, 3],
    ),
    "sparse cross entropy": (
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1], logits=x), [2, 3],
    ),
    "gradient": (lambda x: tf.gradients(tf.tanh(tf.reduce_mean(x * x, 1)), x)[0], [2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_shape_of_each_op_is_known_and_right(case: str) -> None:
    build, shape = CASES[case]
    shapes, live = inferred(build, shape)
    known = tuple(live.get_tensor_by_name("out:0").shape.as_list())
    assert shapes.of(TensorRef("out")) == Shape(known)


@pytest.mark.parametrize("case", CASES)
def test_open_batch_is_never_taken_for_a_number(case: str) -> None:
    build, shape = CASES[case]
    try:
        shapes, live = inferred(build, [None, *shape[1:]])
    except ValueError:
        return
    for operation in live.get_operations():
        for tensor in operation.outputs:
            mine = shapes.of(TensorRef(operation.name, tensor.value_index))
            if mine.is_fully_defined and tensor.shape.dims is not None:
                assert tensor.shape.is_compatible_with(mine.dims), tensor


def test_symbols_follow_the_batch_through_a_network() -> None:
    graph = training(shape=(None, 8))
    shapes = infer_shapes(graph)
    x, y = TensorRef("x"), TensorRef("pair1/y2")
    assert shapes.of(y) == Shape((None, 8))
    assert shapes.same(x, y) is True
    assert shapes.same(TensorRef("pair0/y1"), TensorRef("pair1/f/Tanh")) is True
    assert shapes.same(y, TensorRef("loss")) is False
    assert shapes.bytes(y) is None
    fed = infer_shapes(graph, {"x": Shape((16, 8))})
    assert fed.of(y) == Shape((16, 8))
    assert fed.bytes(y) == 16 * 8 * 4


@pytest.mark.parametrize("right", [[4, 3], [3], [4, 1], [1, 3], [], [2, 4, 3], [5, 4, 3]])
def test_axes_a_gradient_is_summed_over_are_those_tensorflow_finds(right: list[int]) -> None:
    """Sizes that are only known once the batch is fed decide what a gradient is summed over."""

    def build(x: Any) -> Any:
        y = tf.ones(right)
        return tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(y))

    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [None, 3], "x")
        pair = build(x)
        with tf.Session() as session:
            found = session.run(list(pair), {x: np.ones((4, 3))})
    shapes = infer_shapes(snapshot(live), {"x": Shape((4, 3))})
    for index, axes in enumerate(found):
        ref = TensorRef("BroadcastGradientArgs", index)
        assert shapes.values.get(ref) == tuple(axes)
        assert shapes.of(ref) == Shape((len(axes),))


def test_two_open_batches_are_not_known_to_be_the_same() -> None:
    with tf.Graph().as_default() as live:
        tf.placeholder(tf.float32, [None, 8], "a")
        tf.placeholder(tf.float32, [None, 8], "b")
        tf.placeholder(tf.float32, name="c")
    shapes = infer_shapes(snapshot(live))
    assert shapes.same(TensorRef("a"), TensorRef("b")) is None
    assert shapes.same(TensorRef("a"), TensorRef("c")) is None


@pytest.mark.usefixtures("control_flow_v1")
def test_loop_keeps_the_shape_of_a_variable_that_keeps_it() -> None:
    shapes, _ = inferred(lambda x: tf.while_loop(lambda v: True, lambda v: v * 2.0, [x]), [None, 3])
    assert shapes.of(TensorRef("out")) == Shape((None, 3))
    assert shapes.same(TensorRef("x"), TensorRef("out")) is True


@pytest.mark.usefixtures("control_flow_v1")
def test_loop_variable_that_grows_has_no_known_shape() -> None:
    def grows(x: Any) -> Any:
        body = lambda v, w: (tf.concat([v, v], 0), w + tf.reduce_sum(v))  # noqa: E731
        free = [tf.TensorShape([None, 3]), tf.TensorShape([])]
        return tf.while_loop(lambda v, w: w < 9, body, [x, 0.0], free)[0]

    shapes, _ = inferred(grows, [2, 3])
    dims = shapes.of(TensorRef("out")).dims
    assert dims is None or dims == (None, 3)
    assert shapes.bytes(TensorRef("out")) is None


@pytest.mark.usefixtures("control_flow_v1")
def test_gradients_of_a_loop_and_a_cond_agree_with_tensorflow() -> None:
    def build(x: Any) -> Any:
        y = tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, dense(v, "w")), [0, x])[1]
        z = tf.cond(tf.reduce_sum(x) > 0, lambda: y * 2, lambda: tf.tanh(y))
        return tf.gradients(tf.reduce_sum(z), x)[0]

    shapes, _ = inferred(build, [4, 3])
    assert shapes.of(TensorRef("x")) == Shape((4, 3))


def test_unknown_op_has_unknown_shape_unless_the_file_says_it() -> None:
    from types import MappingProxyType

    graph = training()
    nodes = dict(graph.nodes)
    name = "pair0/f/Tanh"
    nodes[name] = nodes[name].evolve(op="SomebodysTanh")
    shapes = infer_shapes(Graph(MappingProxyType(nodes), versions=graph.versions))
    assert shapes.of(TensorRef(name)) == Shape(None)
    nodes[name] = nodes[name].with_attr("_output_shapes", (Shape((-1, 8)), Shape(None)))
    shapes = infer_shapes(Graph(MappingProxyType(nodes), versions=graph.versions))
    assert shapes.of(TensorRef(name)) == Shape((None, 8))


def test_input_pipeline_has_the_shapes_it_declares() -> None:
    with tf.Graph().as_default() as live:
        data = tf.data.Dataset.from_tensor_slices((tf.ones([12, 3]), tf.ones([12], tf.int64)))
        batches = tf.data.make_one_shot_iterator(data.batch(4, drop_remainder=True)).get_next()
        tf.identity(batches[0], name="out")
    shapes = infer_shapes(snapshot(live))
    assert shapes.of(TensorRef("out")) == Shape((4, 3))
    assert shapes.of(TensorRef("IteratorGetNext", 1)) == Shape((4,))
    fed = infer_shapes(snapshot(live), {"IteratorGetNext": Shape((2, 3))})
    assert fed.of(TensorRef("out")) == Shape((2, 3))
    assert fed.of(TensorRef("IteratorGetNext", 1)) == Shape((4,))


@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("shape", [(12, 10, 3), (13, 9, 3)], ids=str)
@pytest.mark.parametrize("rate", [2, 3])
def test_a_dilated_convolution_keeps_the_batch_it_moved_space_into(
    batch: int | None, shape: tuple[int, ...], rate: int
) -> None:
    """TensorFlow 1 writes it as a convolution of blocks of space."""

    def build(x: Any) -> Any:
        sizes = [math.ceil(size / rate) * rate - size for size in shape[:2]]
        pads = [[rate, rate + size] for size in sizes]
        kernel = tf.ones([3, 3, 3, 3])
        moved = tf.raw_ops.SpaceToBatchND(input=x, block_shape=[rate, rate], paddings=pads)
        y = tf.nn.conv2d(moved, kernel, 1, "VALID")
        crops = [[0, size] for size in sizes]
        return tf.raw_ops.BatchToSpaceND(input=y, block_shape=[rate, rate], crops=crops)

    shapes, live = inferred(build, [batch, *shape])
    agrees(shapes, live)
    x, y = (TensorRef(next(o.name for o in live.get_operations() if o.type == kind))
            for kind in ("Placeholder", "BatchToSpaceND"))  # fmt: skip
    assert shapes.of(y).dims == (batch, *shape)
    assert shapes.same(x, y)
