"""The mask update of blocks, of N of M, and of several kernels ranked together, as graph nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from graphrev.io import constants
from graphrev.ir import DType, TensorRef
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.select import Selection, select
from graphrev.passes.mask.structure import Structure

_WHOLE = DType.INT32


def select_blocks(
    writer: Writer,
    weights: TensorRef,
    dtype: DType,
    dims: tuple[int, ...],
    structure: Structure,
    zeros: TensorRef,
) -> Selection:
    """Drops the blocks of the smallest mean magnitude.

    Args:
        zeros: how many blocks to drop, an int32 tensor of shape [1].
    """
    by = "sum" if structure.is_even else "mean"  # in blocks of one size they order alike
    found = select(writer, block_scores(writer, weights, dtype, structure, by), dtype, zeros)
    return Selection(spread(writer, found.mask, dtype, dims, structure), found.threshold)


def block_scores(
    writer: Writer,
    weights: TensorRef,
    dtype: DType,
    structure: Structure,
    by: Literal["sum", "mean", "max"],
) -> TensorRef:
    """The sum, the mean or the largest of each block's magnitudes, in the shape of the grid."""
    (p, a, b), (x, y, z), (gp, ga, gb) = structure.view, structure.block, structure.grid
    magnitudes = writer.reshape(writer.unary("Abs", weights, dtype), structure.view, dtype)
    padding = (gp * x - p, ga * y - a, gb * z - b)
    if any(padding):
        magnitudes = _padded(writer, magnitudes, dtype, padding, 0.0)
    split = writer.reshape(magnitudes, (gp, x, ga, y, gb, z), dtype)
    attrs = {"T": dtype, "Tidx": _WHOLE, "keep_dims": False}
    fold = "Max" if by == "max" else "Sum"
    folded = writer.add(fold, fold, (split, writer.vector(_WHOLE, (1, 3, 5))), attrs)
    if by != "mean":
        return folded
    counts = writer.scalar(dtype, float(x * y * z))
    if not structure.is_even:
        counts = _counts(writer, structure, dtype)
    return writer.binary("RealDiv", folded, counts, dtype)


def spread(
    writer: Writer,
    grid_mask: TensorRef,
    dtype: DType,
    dims: tuple[int, ...],
    structure: Structure,
) -> TensorRef:
    """A mask of blocks, in the shape of the grid, as a mask of weights in the kernel's shape."""
    (x, y, z), (gp, ga, gb) = structure.block, structure.grid
    small = writer.reshape(grid_mask, (gp, 1, ga, 1, gb, 1), dtype)
    times = writer.vector(_WHOLE, (1, x, 1, y, 1, z))
    tiled = writer.add("Tile", "Tile", (small, times), {"T": dtype, "Tmultiples": _WHOLE})
    whole = writer.reshape(tiled, (gp * x, ga * y, gb * z), dtype)
    return _cut(writer, whole, dtype, structure, dims)


def _counts(writer: Writer, structure: Structure, dtype: DType) -> TensorRef:
    """How many weights each block has, in the shape of the grid."""
    counts = [1.0]
    for size, part, number in zip(structure.view, structure.block, structure.grid):
        along = [float(min(part, size - place * part)) for place in range(number)]
        counts = [one * other for one in counts for other in along]
    listed = writer.constant(constants.vector(DType.FLOAT, counts), "block_sizes")
    return writer.reshape(writer.cast(listed, DType.FLOAT, dtype), structure.grid, dtype)


def _padded(
    writer: Writer, x: TensorRef, dtype: DType, padding: Sequence[int], value: float
) -> TensorRef:
    pairs = writer.vector(_WHOLE, [n for amount in padding for n in (0, amount)])
    attrs = {"T": _WHOLE, "Tshape": _WHOLE}
    shape = writer.vector(_WHOLE, (len(padding), 2))
    paddings = writer.add("Reshape", "Reshape", (pairs, shape), attrs)
    inputs = (x, paddings, writer.scalar(dtype, value))
    return writer.add("PadV2", "PadV2", inputs, {"T": dtype, "Tpaddings": _WHOLE})


def _cut(
    writer: Writer, x: TensorRef, dtype: DType, structure: Structure, dims: tuple[int, ...]
) -> TensorRef:
    """``x`` without its padding, in the kernel's shape."""
    if any(size % part for size, part in zip(structure.view, structure.block)):
        start, size = writer.vector(_WHOLE, (0, 0, 0)), writer.vector(_WHOLE, structure.view)
        x = writer.add("Slice", "Slice", (x, start, size), {"T": dtype, "Index": _WHOLE})
    return writer.reshape(x, dims, dtype)


def select_few_of(
    writer: Writer,
    weights: TensorRef,
    dtype: DType,
    dims: tuple[int, ...],
    structure: Structure,
) -> TensorRef:
    """The mask that keeps the largest ``keep`` in each ``of`` along an axis, ties by index.

    A weight is kept when fewer than ``keep`` others of its group beat it. Padding beats nothing.
    """
    p, a, b = structure.view
    of, groups = structure.of, -(-a // structure.of)
    magnitudes = writer.reshape(writer.unary("Abs", weights, dtype), structure.view, dtype)
    if groups * of != a:
        magnitudes = _padded(writer, magnitudes, dtype, (0, groups * of - a, 0), -1.0)
    one = writer.reshape(magnitudes, (p * groups, of, 1, b), dtype)
    other = writer.reshape(magnitudes, (p * groups, 1, of, b), dtype)
    larger = writer.compare("Greater", other, one, dtype)
    attrs = {"T": dtype, "incompatible_shape_error": True}
    equal = writer.add("Equal", "Equal", (other, one), attrs)
    order = [float(mine > theirs) for mine in range(of) for theirs in range(of)]
    ordered = writer.vector(DType.BOOL, [int(flag) for flag in order])
    earlier = writer.reshape(ordered, (1, of, of, 1), DType.BOOL)
    tied = writer.add("LogicalAnd", "LogicalAnd", (equal, earlier), {})
    beaten = writer.add("LogicalOr", "LogicalOr", (larger, tied), {})
    counted = writer.cast(beaten, DType.BOOL, _WHOLE)
    fold = {"T": _WHOLE, "Tidx": _WHOLE, "keep_dims": False}
    rank = writer.add("Sum", "Sum", (counted, writer.vector(_WHOLE, (2,))), fold)
    kept = writer.compare("Less", rank, writer.scalar(_WHOLE, structure.keep), _WHOLE)
    mask = writer.reshape(writer.cast(kept, DType.BOOL, dtype), (p, groups * of, b), dtype)
    return _cut(writer, mask, dtype, structure, dims)


def select_together(
    writer: Writer,
    weights: Sequence[TensorRef],
    dims: Sequence[tuple[int, ...]],
    dtype: DType,
    zeros: TensorRef,
    *,
    allow_empty: bool,
) -> tuple[tuple[TensorRef, ...], TensorRef]:
    """One ranking of several kernels: their masks and the threshold they share.

    Unless ``allow_empty``, the largest weight of each kernel counts as infinite, and is kept.
    """
    sizes = [math.prod(shape) for shape in dims]
    flat = [writer.reshape(value, (-1,), dtype) for value in weights]
    if not allow_empty:
        flat = [protected(writer, value, dtype) for value in flat]
    axis = writer.scalar(_WHOLE, 0)
    attrs = {"T": dtype, "Tidx": _WHOLE, "N": len(flat)}
    joined = writer.add("ConcatV2", "concat", (*flat, axis), attrs)
    found = select(writer, joined, dtype, zeros)
    split_attrs = {"T": dtype, "Tlen": _WHOLE, "num_split": len(flat)}
    inputs = (found.mask, writer.vector(_WHOLE, sizes), axis)
    split = writer.add("SplitV", "split", inputs, split_attrs)
    masks = tuple(
        writer.reshape(TensorRef(split.node, place), shape, dtype)
        for place, shape in enumerate(dims)
    )
    return masks, found.threshold


def protected(writer: Writer, flat: TensorRef, dtype: DType) -> TensorRef:
    """``flat`` with infinity in the place of its largest magnitude."""
    magnitudes = writer.unary("Abs", flat, dtype)
    attrs = {"T": dtype, "Tidx": _WHOLE, "output_type": DType.INT64}
    inputs = (magnitudes, writer.scalar(_WHOLE, 0))
    place = writer.reshape(writer.add("ArgMax", "ArgMax", inputs, attrs), (1, 1), DType.INT64)
    endless = writer.reshape(writer.scalar(dtype, math.inf), (1,), dtype)
    update = {"T": dtype, "Tindices": DType.INT64}
    name = "TensorScatterUpdate"
    return writer.add(name, name, (flat, place, endless), update)
