"""Shapes of graphs no TensorFlow would build: open where they make no sense, and bounded."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

import pytest

from graphrev.analysis.channels import find_channels
from graphrev.analysis.shapes import infer_shapes
from graphrev.io.constants import vector
from graphrev.ir import DType, Graph, Node, Shape, TensorRef
from graphrev.passes import Shrink

OPEN = Shape((None, 3))


def _node(name: str, op: str, *inputs: str, **attrs: Any) -> Node:
    refs = tuple(TensorRef(source) for source in inputs)
    return Node(name, op, refs, attrs=MappingProxyType(attrs))


def _numbers(name: str, *numbers: int) -> Node:
    return _node(name, "Const", dtype=DType.INT32, value=vector(DType.INT32, numbers))


def _graph(nodes: Iterable[Node]) -> Graph:
    start = (
        _node("x", "Placeholder", dtype=DType.FLOAT, shape=OPEN),
        _node("flat", "Placeholder", dtype=DType.FLOAT, shape=Shape((5,))),
        _numbers("none"),
        _numbers("one", 1),
        _numbers("two", 1, 7),
    )
    return Graph(MappingProxyType({node.name: node for node in (*start, *nodes)}))


@pytest.mark.parametrize(
    "node",
    [
        _node("y", "ConcatV2", "x", "flat", "one", N=2),
        _node("y", "ConcatV2", "x", "x", "none", N=2),
        _node("y", "Split", "none", "x", num_split=2),
        _node("y", "SplitV", "x", "two", "none", num_split=2),
        _node("y", "ExpandDims", "x", "none"),
        _node("y", "ArgMax", "x", "none"),
        _node("y", "GatherV2", "x", "flat", "none"),
    ],
    ids=lambda node: node.op,
)
def test_an_axis_that_does_not_exist_leaves_the_shape_open(node: Node) -> None:
    assert infer_shapes(_graph([node])).of(TensorRef("y")).dims is None


@pytest.mark.parametrize("stride", [0, -1])
@pytest.mark.parametrize("padding", [b"SAME", b"VALID"])
def test_a_window_that_never_moves_on_leaves_the_shape_open(stride: int, padding: bytes) -> None:
    window = {"strides": (1, stride, stride, 1), "padding": padding}
    nodes = [
        _node("image", "Placeholder", dtype=DType.FLOAT, shape=Shape((2, 8, 8, 3))),
        _node("kernel", "Placeholder", dtype=DType.FLOAT, shape=Shape((3, 3, 3, 4))),
        _node("conv", "Conv2D", "image", "kernel", **window),
        _node("pool", "MaxPool", "image", ksize=(1, 2, 2, 1), **window),
    ]
    found = infer_shapes(_graph(nodes))
    assert found.of(TensorRef("conv")).dims is None
    assert found.of(TensorRef("pool")).dims is None


def test_a_slice_that_names_too_few_starts_has_the_sizes_it_asks_for() -> None:
    found = infer_shapes(_graph([_node("y", "Slice", "x", "one", "two")]))
    assert found.of(TensorRef("y")).dims == (1, 7)


def _doubled(op: str, count: int) -> Iterable[Node]:
    yield (
        _node("y0", "Shape", "x", out_type=DType.INT32)
        if op == "Mul"
        else _node("y0", "Identity", "x", T=DType.FLOAT)
    )
    for number in range(count):
        sources = [f"y{number}", f"y{number}", *(["zero"] if op == "ConcatV2" else [])]
        yield _node(f"y{number + 1}", op, *sources, N=2, T=DType.INT32)


@pytest.mark.parametrize("op", ["ConcatV2", "Mul"])
def test_a_size_doubled_two_hundred_times_stays_small(op: str) -> None:
    found = infer_shapes(_graph([_numbers("zero", 0), *_doubled(op, 200)]))
    if op == "ConcatV2":
        assert found.of(TensorRef("y200")).dims == (None, 3)
        assert found.dims(TensorRef("y200")) != found.dims(TensorRef("y199"))
    else:
        assert found.of(TensorRef("y200")).dims == (2,)


def test_a_number_squared_two_hundred_times_stays_small() -> None:
    squares = [_node(f"y{i}", "Mul", *[f"y{i - 1}"] * 2, T=DType.INT32) for i in range(1, 200)]
    filled = _node("out", "Fill", "y199", "one", T=DType.INT32, index_type=DType.INT32)
    found = infer_shapes(_graph([_numbers("y0", 3), *squares, filled]))
    assert found.of(TensorRef("out")).dims == (None,)


def test_a_split_into_billions_hands_no_channels_on_and_takes_no_time() -> None:
    nodes = [
        _node("w", "VariableV2", dtype=DType.FLOAT, shape=Shape((3, 4))),
        _node("y", "MatMul", "x", "w", T=DType.FLOAT),
        _node("parts", "Split", "one", "y", T=DType.FLOAT, num_split=2**31 - 1),
        _node("few", "Split", "one", "y", T=DType.FLOAT, num_split=2),
        _node("z", "Relu", "few", T=DType.FLOAT),
    ]
    graph = _graph(nodes)
    channels = find_channels(graph, infer_shapes(graph))
    assert not channels.axes.get(TensorRef("parts"))
    assert channels.axes.get(TensorRef("few"))


@pytest.mark.parametrize(
    "node",
    [
        _node("out", "Split", "one", "sum", T=DType.FLOAT, num_split=2),
        _node("out", "ConcatV2", "y", "flat", "one", T=DType.FLOAT),
        _node("out", "ConcatV2", "sum", "sum", "one", T=DType.FLOAT),
        _node("out", "Conv2D", "x", "w", T=DType.FLOAT, padding=b"SAME"),
        _node("out", "DepthwiseConv2dNative", "x", "w", T=DType.FLOAT, padding=b"SAME"),
        _node("out", "Sum", "sum", "one", T=DType.FLOAT),
        _node("out", "ExpandDims", "y", "two", T=DType.FLOAT),
        _node("out", "Squeeze", "sum", squeeze_dims=(0,), T=DType.FLOAT),
    ],
    ids=lambda node: node.op,
)
def test_ranks_that_do_not_fit_hand_no_channels_on(node: Node) -> None:
    """Found by fuzzing."""
    content = vector(DType.FLOAT, (1.0, 0.0, 2.0, 0.0))
    nodes = [
        _node("numbers", "Const", dtype=DType.FLOAT, value=content),
        _numbers("square", 2, 2),
        _node("w", "Reshape", "numbers", "square", T=DType.FLOAT),
        _node("y", "MatMul", "x", "w", T=DType.FLOAT),
        _numbers("all", 0, 1),
        _node("sum", "Sum", "y", "all", T=DType.FLOAT),
        node,
        _node("end", "Relu", "out", T=DType.FLOAT),
    ]
    graph = _graph(nodes)
    assert not find_channels(graph, infer_shapes(graph)).axes.get(TensorRef("end"))
    assert not Shrink().analyze(graph).removed
