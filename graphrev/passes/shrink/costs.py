"""The size of a graph before and after: weights, and operations on one example."""

from __future__ import annotations

import math

from graphrev.analysis.channels import Channels
from graphrev.analysis.ops import is_constant, is_variable
from graphrev.ir import DType, Node, Shape, TensorRef, TensorValue
from graphrev.passes.shrink.plan import Cost
from graphrev.passes.shrink.removal import Flags, Removal


def cost_before(channels: Channels) -> Cost:
    """The cost of the graph as it is."""
    return _cost(channels, None)


def cost_after(removal: Removal) -> Cost:
    """The cost once the channels are gone."""
    return _cost(removal.channels, removal)


def _cost(channels: Channels, removal: Removal | None) -> Cost:
    weights = sum(
        math.prod(_sizes(channels, TensorRef(name), dims, removal))
        for name, node in channels.graph.nodes.items()
        if (dims := _weights(node)) is not None
    )
    return Cost(weights, _operations(channels, removal))


def _weights(node: Node) -> tuple[int, ...] | None:
    """The shape of a floating-point constant or variable that is no scalar."""
    if is_constant(node.op):
        value = node.attrs.get("value")
        dtype, shape = (
            (value.dtype, value.shape) if isinstance(value, TensorValue) else (None, None)
        )
    elif is_variable(node.op):
        dtype, shape = node.attrs.get("dtype"), node.attrs.get("shape")
    else:
        return None
    if not isinstance(dtype, DType) or not dtype.is_floating or not isinstance(shape, Shape):
        return None
    return tuple(dim or 0 for dim in shape.dims) if shape.dims else None


def _sizes(
    channels: Channels, ref: TensorRef, dims: tuple[int, ...], removal: Removal | None
) -> tuple[int, ...]:
    return tuple(_left(_gone(removal, ref, axis), size) for axis, size in enumerate(dims))


def _gone(removal: Removal | None, ref: TensorRef, axis: int) -> Flags | None:
    return None if removal is None else removal.places(ref, axis)


def _left(gone: Flags | None, size: int) -> int:
    return size if gone is None else size - int(gone.sum())


def _operations(channels: Channels, removal: Removal | None) -> int | None:
    total = 0
    sums = [(p.node, p.axis, p.kernel, p.data, p.data_axis) for p in channels.products]
    sums += [(d.node, d.data_axis, d.kernel, d.data, -1) for d in channels.depthwise]
    for node, axis, kernel, data, _ in sums:
        out, dims = channels.shapes.dims(TensorRef(node)), channels.shapes.dims(kernel)
        if channels.graph[node].op.endswith(("BackpropInput", "BackpropInputV2")):
            out = channels.shapes.dims(data)
        if out is None or dims is None:
            return None
        places = [dim for i, dim in enumerate(out) if i not in (0, axis)]
        weights = [dim for dim in dims if isinstance(dim, int)]
        if not all(isinstance(dim, int) for dim in places) or len(weights) < len(dims):
            return None
        each = math.prod(dim for dim in places if isinstance(dim, int))
        total += 2 * each * math.prod(_sizes(channels, kernel, tuple(weights), removal))
    return total
