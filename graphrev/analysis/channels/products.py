"""Channels through what multiplies by a kernel: a sum over input channels for each filter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphrev.analysis.channels.elementwise import channel_axis
from graphrev.analysis.channels.known import is_spelled_out
from graphrev.analysis.channels.tracking import MOST_CHANNELS, Depthwise, Product, Target, Tracker
from graphrev.analysis.dims import Dims
from graphrev.ir import Node, TensorRef


def _kernel_dims(tracker: Tracker, node: Node, kernel: TensorRef) -> Dims:
    """The shape of a convolution's kernel; ``None`` where it is not to be followed."""
    dims = tracker.dims(kernel)
    if dims is None or not tracker.is_fixed_tensor(kernel):
        tracker.opaque(node, f"'{node.name}' has no constant kernel of a known shape")
        return None
    if len(dims) != (5 if node.op.startswith("Conv3D") else 4):
        tracker.opaque(node, f"'{node.name}' has a kernel of rank {len(dims)}")
        return None
    return dims


def _convolution(tracker: Tracker, node: Node) -> None:
    data, kernel = node.inputs[0], node.inputs[1]
    dims = _kernel_dims(tracker, node, kernel)
    if dims is None:
        return
    rank = len(dims)
    at = channel_axis(node, rank)
    padded = any(size != 1 for size in dims[:-2]) and node.attrs.get("padding") != b"VALID"
    _multiply(
        tracker,
        Product(node.name, data, at, kernel, rank - 2, rank - 1, at, padded),
        node,
    )


def _transposed(tracker: Tracker, node: Node) -> None:
    """A transposed convolution: its kernel is ``[..., out, in]``, and its output's shape spelled.

    Where windows do not tile the output evenly a constant does not give a constant.
    """
    sizes, kernel, data = node.inputs
    dims = _kernel_dims(tracker, node, kernel)
    if dims is None:
        return
    rank = len(dims)
    at = channel_axis(node, rank)
    if rank - 2 in tracker.axes(kernel):
        spelled = is_spelled_out(tracker, sizes, at)
        if spelled is None:
            reason = f"the output shape of '{node.name}' is computed by '{sizes.node}'"
            tracker.block(tracker.axes(kernel)[rank - 2], "mixed", node.name, reason)
        elif spelled:
            tracker.found.targets.append(Target(node.name, 0, at))
    _multiply(
        tracker, Product(node.name, data, at, kernel, rank - 1, rank - 2, at, is_padded=True), node
    )


def _matrix(tracker: Tracker, node: Node) -> None:
    keys = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
    flips = [node.attrs.get(key) is True for key in keys]
    weights = [tracker.is_fixed_tensor(ref) for ref in node.inputs]
    ranks = [len(dims) if dims is not None else 0 for dims in map(tracker.dims, node.inputs)]
    if weights == [False, True] and ranks[1] == 2 and ranks[0] >= 2:
        place, data_rank = 1, ranks[0]
    elif weights == [True, False] and ranks == [2, 2]:
        place, data_rank = 0, 2
    else:
        tracker.opaque(node, f"'{node.name}' multiplies what is not a constant matrix")
        return
    data, kernel = node.inputs[1 - place], node.inputs[place]
    inner = flips[place] if place else not flips[place]
    data_axis = data_rank - 1 - flips[0] if place else data_rank - 2 + flips[1]
    axis = data_rank - 1 if place else data_rank - 2
    product = Product(node.name, data, data_axis, kernel, int(inner), int(not inner), axis, False)
    _multiply(tracker, product, node)


def _multiply(tracker: Tracker, product: Product, node: Node) -> None:
    """Unifies the channels that are summed over; the filters make the output's."""
    weights = dict(tracker.axes(product.kernel))
    channels = dict(tracker.axes(product.data))
    summed, used = channels.pop(product.data_axis, None), weights.pop(product.in_axis, None)
    made = weights.pop(product.out_axis, None)
    for atoms in (*channels.values(), *weights.values()):
        reason = f"'{node.name}' slides over them"
        tracker.block(atoms, "mixed", node.name, reason)
    if summed is not None and used is not None and len(summed) == len(used):
        tracker.unify(summed, used)
    else:
        _unmatched(tracker, product, node)
    tracker.found.products.append(product)
    if made is not None:
        tracker.put(TensorRef(node.name), {product.axis: made})


def _unmatched(tracker: Tracker, product: Product, node: Node) -> None:
    """The data's channels are given from outside, or summed over in groups."""
    used = tracker.axes(product.kernel).get(product.in_axis)
    summed = tracker.axes(product.data).get(product.data_axis)
    if used is not None and summed is None:
        reason = f"'{node.name}' reads '{product.data.node}', whose channels no kernel makes"
        tracker.block(used, "fed", product.data.node, reason)
        return
    for atoms in (used, summed):
        if atoms is not None:
            reason = f"'{node.name}' sums over them in groups"
            tracker.block(atoms, "mixed", node.name, reason)
    made = tracker.axes(product.kernel).get(product.out_axis)
    if summed is not None and made is not None:
        tracker.block(made, "mixed", node.name, f"'{node.name}' makes them in groups")


def _depthwise(tracker: Tracker, node: Node) -> None:
    data, kernel = node.inputs
    dims = _kernel_dims(tracker, node, kernel)
    if dims is None:
        return
    times = dims[3]
    if not isinstance(times, int):
        tracker.opaque(node, f"'{node.name}' has a kernel of an unknown shape")
        return
    at = channel_axis(node, 4)
    channels, weights = dict(tracker.axes(data)), dict(tracker.axes(kernel))
    mine, theirs = channels.pop(at, None), weights.pop(2, None)
    for atoms in (*channels.values(), *weights.values()):
        tracker.block(atoms, "mixed", node.name, f"'{node.name}' slides over them")
    if theirs is None or mine is None or times * len(theirs) > MOST_CHANNELS:
        if theirs is not None:
            reason = f"'{node.name}' reads '{data.node}', whose channels no kernel makes"
            tracker.block(theirs, "fed", data.node, reason)
        return
    tracker.unify(mine, theirs)
    padded = any(size != 1 for size in dims[:2]) and node.attrs.get("padding") != b"VALID"
    tracker.found.depthwise.append(Depthwise(node.name, data, at, kernel, times, padded))
    tracker.put(TensorRef(node.name), {at: np.repeat(theirs, times)})


Rule = Callable[[Tracker, Node], None]
PRODUCT_RULES: dict[str, Rule] = {
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "DepthwiseConv2dNative": _depthwise,
    "MatMul": _matrix,
    "BatchMatMul": _matrix,
    "BatchMatMulV2": _matrix,
    "BatchMatMulV3": _matrix,
}
