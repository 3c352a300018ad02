"""The exact mask update as graph nodes: radix selection on the bits of the magnitudes.

The bits of a non-negative IEEE number, read as an integer, order as the number does. A histogram of
their upper 15 bits and its running sum tell which bucket the z-th smallest magnitude is in, and its
rank there. A bucket holds few weights (of normal ones some 0.3 % in float32), and which of them has
that rank ``NthElement`` finds in linear time. Every weight above this threshold is kept and, of
those equal to it, all but the first so many in index order: exactly z zeros, whatever the ties, the
same on every run.

What costs time is every op on all weights, and memory that is touched for the first time: hence
one histogram, not one per 16 bits, and ties that are looked for in the bucket and dropped while the
mask is still one byte per weight.

Ops are TensorFlow 1.15's. A NaN counts as largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphrev.io import constants
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.nodes import Writer

_BINS = 1 << 15
_WHOLE = DType.INT32


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a float type is read as an integer: its bits, the type to compare in, the upper bits."""

    bits: DType
    key: DType
    magnitude: int
    shift: int


_LAYOUTS = {
    DType.HALF: _Layout(DType.INT16, _WHOLE, 0x7FFF, 0),
    DType.BFLOAT16: _Layout(DType.INT16, _WHOLE, 0x7FFF, 0),
    DType.FLOAT: _Layout(_WHOLE, _WHOLE, 0x7FFF_FFFF, 16),
    DType.DOUBLE: _Layout(DType.INT64, DType.INT64, 0x7FFF_FFFF_FFFF_FFFF, 48),
}


@dataclass(frozen=True, slots=True)
class Count:
    """How many weights to drop.

    Attributes:
        zeros: the number, an int32 tensor of shape [1], less than the number of weights.
        rank: the rank of the largest that is dropped, from 0, an int32 scalar; 0 where none is.
    """

    zeros: TensorRef
    rank: TensorRef


@dataclass(frozen=True, slots=True)
class Selection:
    """The new mask, of the kernel's type, and the largest magnitude it drops.

    Where it drops nothing the threshold is the smallest magnitude there is.
    """

    mask: TensorRef
    threshold: TensorRef


def select(
    writer: Writer,
    weights: TensorRef,
    dtype: DType,
    zeros: TensorRef | Count,
    dims: tuple[int, ...] | None = None,
) -> Selection:
    """Adds the selection.

    Args:
        weights: the kernel's value, of any shape.
        dtype: float16, bfloat16, float32 or float64.
        zeros: how many weights to drop, an int32 tensor of shape [1], less than their number.
        dims: the shape of the mask; one axis by default.
    """
    count = zeros if isinstance(zeros, Count) else _count(writer, zeros)
    layout = _LAYOUTS[dtype]
    key = _key(writer, weights, dtype, layout)
    bucket = _bucket(writer, key, layout, count)
    kept = writer.compare("GreaterEqual", key, bucket.threshold, layout.key)
    kept = _without_first(writer, kept, bucket, layout)
    mask = writer.cast(kept, DType.BOOL, dtype)
    return Selection(
        mask if dims is None else writer.reshape(mask, dims, dtype),
        _as_float(writer, bucket.threshold, dtype, layout),
    )


def _count(writer: Writer, zeros: TensorRef) -> Count:
    one = writer.scalar(_WHOLE, 1)
    rank = writer.binary("Sub", writer.binary("Maximum", zeros, one, _WHOLE), one, _WHOLE)
    return Count(zeros, writer.reshape(rank, (), _WHOLE))


def _key(writer: Writer, weights: TensorRef, dtype: DType, layout: _Layout) -> TensorRef:
    flat = writer.reshape(weights, (-1,), dtype)
    bits = writer.add("Bitcast", "Bitcast", (flat,), {"T": dtype, "type": layout.bits})
    wide = writer.cast(bits, layout.bits, layout.key)
    sign_off = writer.scalar(layout.key, layout.magnitude)
    return writer.binary("BitwiseAnd", wide, sign_off, layout.key)


@dataclass(frozen=True, slots=True)
class _Bucket:
    """The weights whose upper bits are those of the threshold.

    Attributes:
        places: where they are, in index order, an int64 tensor of shape [n, 1].
        keys: theirs, of shape [n].
        threshold: the key of the largest weight that is dropped, a scalar.
        ties: how many of those equal to it are dropped, of shape [1].
    """

    places: TensorRef
    keys: TensorRef
    threshold: TensorRef
    ties: TensorRef


def _bucket(writer: Writer, key: TensorRef, layout: _Layout, count: Count) -> _Bucket:
    upper = key
    if layout.shift:
        places = writer.scalar(layout.key, layout.shift)
        upper = writer.binary("RightShift", key, places, layout.key)
    upper = writer.cast(upper, layout.key, _WHOLE)
    number, below = _bucket_of(writer, upper, count.rank)
    held = _where(writer, _equal(writer, upper, number, _WHOLE))
    keys = _gather(writer, key, held, layout.key)
    rank = writer.binary("Sub", count.rank, below, _WHOLE)
    attrs: Mapping[str, AttrValue] = {"T": layout.key, "reverse": False}
    threshold = writer.add("NthElement", "NthElement", (keys, rank), attrs)
    smaller = writer.cast(writer.compare("Less", keys, threshold, layout.key), DType.BOOL, _WHOLE)
    ties = writer.binary("Sub", count.zeros, below, _WHOLE)
    ties = writer.binary("Sub", ties, _fold(writer, "Sum", smaller), _WHOLE)
    return _Bucket(held, keys, threshold, ties)


def _bucket_of(writer: Writer, upper: TensorRef, rank: TensorRef) -> tuple[TensorRef, TensorRef]:
    """The upper bits of the weight of a rank, and how many weights have lower ones: scalars."""
    one_each = writer.vector(_WHOLE, ())
    size = writer.scalar(_WHOLE, _BINS)
    counts = writer.add("Bincount", "Bincount", (upper, size, one_each), {"T": _WHOLE})
    running: Mapping[str, AttrValue] = {
        "T": _WHOLE,
        "Tidx": _WHOLE,
        "exclusive": False,
        "reverse": False,
    }
    sums = writer.add("Cumsum", "Cumsum", (counts, writer.scalar(_WHOLE, 0)), running)
    passed = writer.cast(writer.compare("LessEqual", sums, rank, _WHOLE), DType.BOOL, _WHOLE)
    below = _fold(writer, "Max", writer.binary("Mul", sums, passed, _WHOLE))
    return _fold(writer, "Sum", passed), below


def _without_first(writer: Writer, kept: TensorRef, bucket: _Bucket, layout: _Layout) -> TensorRef:
    """``kept`` without the first ``ties`` of the weights at the threshold, in index order."""
    equal = _where(writer, _equal(writer, bucket.keys, bucket.threshold, layout.key))
    first: Mapping[str, AttrValue] = {
        "T": DType.INT64,
        "Index": _WHOLE,
        "begin_mask": 1,
        "end_mask": 0,
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": 0,
    }
    start, stride = writer.vector(_WHOLE, (0,)), writer.vector(_WHOLE, (1,))
    inputs = (equal, start, bucket.ties, stride)
    chosen = writer.add("StridedSlice", "StridedSlice", inputs, first)
    dropped = _gather(writer, bucket.places, chosen, DType.INT64)
    attrs: Mapping[str, AttrValue] = {"T": DType.BOOL, "index_type": _WHOLE}
    none = writer.add("Fill", "Fill", (bucket.ties, writer.scalar(DType.BOOL, False)), attrs)
    name = "TensorScatterUpdate"
    attrs = {"T": DType.BOOL, "Tindices": DType.INT64}
    return writer.add(name, name, (kept, dropped, none), attrs)


def _equal(writer: Writer, x: TensorRef, y: TensorRef, dtype: DType) -> TensorRef:
    return writer.add("Equal", "Equal", (x, y), {"T": dtype, "incompatible_shape_error": True})


def _where(writer: Writer, flags: TensorRef) -> TensorRef:
    return writer.add("Where", "Where", (flags,), {"T": DType.BOOL})


def _gather(writer: Writer, x: TensorRef, places: TensorRef, dtype: DType) -> TensorRef:
    attrs = {"Tparams": dtype, "Tindices": DType.INT64}
    return writer.add("GatherNd", "GatherNd", (x, places), attrs)


def _fold(writer: Writer, op: str, x: TensorRef) -> TensorRef:
    """An int32 vector folded into a scalar."""
    attrs = {"T": _WHOLE, "Tidx": _WHOLE, "keep_dims": False}
    return writer.add(op, op, (x, writer.scalar(_WHOLE, 0)), attrs)


def _as_float(writer: Writer, key: TensorRef, dtype: DType, layout: _Layout) -> TensorRef:
    bits = writer.cast(key, layout.key, layout.bits)
    return writer.add("Bitcast", "Bitcast", (bits,), {"T": layout.bits, "type": dtype})


def zeros_by_kernel(
    writer: Writer, share: TensorRef, wanted: tuple[float, ...], most: tuple[int, ...]
) -> tuple[Count, ...]:
    """How many weights each kernel is to lose.

    Args:
        share: the share of the target that is asked for, a float64 scalar.
        wanted: for each kernel its number of weights times its target sparsity.
        most: for each kernel the largest number it may lose.
    """
    final = writer.constant(constants.vector(DType.DOUBLE, wanted), "target_zeros")
    now = writer.unary("Round", writer.binary("Mul", final, share))
    bound = writer.constant(constants.vector(DType.DOUBLE, most), "most_zeros")
    now = writer.binary("Minimum", now, bound)
    now = writer.binary("Maximum", now, writer.scalar(DType.DOUBLE, 0.0))
    counts = writer.cast(now, DType.DOUBLE, _WHOLE)
    axis, one = writer.scalar(_WHOLE, 0), writer.scalar(_WHOLE, 1)
    number = len(wanted)
    split = writer.add("Split", "zeros", (axis, counts), {"T": _WHOLE, "num_split": number})
    ranks = writer.binary("Sub", writer.binary("Maximum", counts, one, _WHOLE), one, _WHOLE)
    attrs = {"T": _WHOLE, "num": number, "axis": 0}
    unpacked = writer.add("Unpack", "ranks", (ranks,), attrs)
    return tuple(
        Count(TensorRef(split.node, index), TensorRef(unpacked.node, index))
        for index in range(number)
    )
