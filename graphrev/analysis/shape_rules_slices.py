"""The output shape of ``x[begin:end:stride]`` (core/util/strided_slice_op.cc)."""

from __future__ import annotations

from graphrev.analysis.dims import Dim, Dims
from graphrev.analysis.shape_inputs import Inputs, integer
from graphrev.ir import Node

_MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")


def strided_slice(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """One entry of the sparse specification after the other, the ellipsis filling the rest."""
    dims = known.dims(node)
    begin, end, stride = (known.value(node, position) for position in (1, 2, 3))
    if dims is None or begin is None or end is None or stride is None:
        return (None,)
    if not len(begin) == len(end) == len(stride):
        return (None,)
    masks = {key: integer(node, f"{key}_mask") for key in _MASKS}
    result: list[Dim] = []
    axis = 0
    for place, bound in enumerate(zip(begin, end, stride)):
        bit = 1 << place
        if masks["ellipsis"] & bit:
            rest = len(begin) - place - 1 - (masks["new_axis"] >> (place + 1)).bit_count()
            result.extend(dims[axis : len(dims) - rest])
            axis = max(axis, len(dims) - rest)
        elif masks["new_axis"] & bit:
            result.append(1)
        elif axis >= len(dims):
            return (None,)
        else:
            if not masks["shrink_axis"] & bit:
                open_ = bool(masks["begin"] & bit), bool(masks["end"] & bit)
                result.append(_size(node, axis, dims[axis], bound, open_))
            axis += 1
    return ((*result, *dims[axis:]),)


def _size(
    node: Node, axis: int, dim: Dim, bound: tuple[Dim, Dim, Dim], open_: tuple[bool, bool]
) -> Dim:
    """How many elements of an axis are taken."""
    begin, end, stride = bound
    if all(open_) and stride == 1:
        return dim
    start, stop = (None if free else value for free, value in zip(open_, (begin, end)))
    if isinstance(dim, int) and isinstance(stride, int) and stride:
        if not isinstance(start, tuple) and not isinstance(stop, tuple):
            return len(range(dim)[start:stop:stride])
    return ("slice", node.name, axis)
