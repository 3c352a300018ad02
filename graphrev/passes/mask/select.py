"""The exact mask update as graph nodes: radix selection on the bits of the magnitudes.

The bits of a non-negative IEEE number, read as an integer, order as the number does. The z-th
smallest magnitude is found digit by digit, 16 bits at a time from the top: a histogram of the digit
among the weights that share the digits found so far, its running sum, and the first digit at which
the sum reaches the rank that is left. float32 takes two histograms, float16 and bfloat16 one,
float64 four. Every weight above the threshold is kept and, of those equal to it, all but the first
so many in index order: exactly z zeros, whatever the ties, the same on every run.

Ops are TensorFlow 1.15's. Weights of another prefix leave the histogram by being larger than its
last bin, which ``Bincount`` ignores (core/kernels/bincount_op.cc); a NaN counts as largest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphrev.io import constants
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.nodes import Writer

_DIGIT = 16
_TOP_BINS, _BINS = 1 << (_DIGIT - 1), 1 << _DIGIT


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a float type is read as an integer: its bits, the type to count in, the digits."""

    bits: DType
    key: DType
    magnitude: int
    shifts: tuple[int, ...]


_LAYOUTS = {
    DType.HALF: _Layout(DType.INT16, DType.INT32, 0x7FFF, (0,)),
    DType.BFLOAT16: _Layout(DType.INT16, DType.INT32, 0x7FFF, (0,)),
    DType.FLOAT: _Layout(DType.INT32, DType.INT32, 0x7FFF_FFFF, (16, 0)),
    DType.DOUBLE: _Layout(DType.INT64, DType.INT64, 0x7FFF_FFFF_FFFF_FFFF, (48, 32, 16, 0)),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The new mask, in the kernel's shape and type, and the largest magnitude it drops."""

    mask: TensorRef
    threshold: TensorRef


def select(writer: Writer, weights: TensorRef, dtype: DType, zeros: TensorRef) -> Selection:
    """Adds the selection.

    Args:
        weights: the kernel's value.
        dtype: float16, bfloat16, float32 or float64.
        zeros: how many weights to drop, an int32 tensor of shape [1], less than their number.
    """
    layout = _LAYOUTS[dtype]
    key = _key(writer, weights, dtype, layout)
    threshold, ties = _threshold(writer, key, layout, zeros)
    kept = writer.compare("GreaterEqual", key, threshold, layout.key)
    equal = writer.add(
        "Equal", "Equal", (key, threshold), {"T": layout.key, "incompatible_shape_error": True}
    )
    mask = writer.cast(kept, DType.BOOL, dtype)
    return Selection(
        _without_first(writer, mask, dtype, equal, ties),
        _as_float(writer, threshold, dtype, layout),
    )


def _key(writer: Writer, weights: TensorRef, dtype: DType, layout: _Layout) -> TensorRef:
    bits = writer.add("Bitcast", "Bitcast", (weights,), {"T": dtype, "type": layout.bits})
    wide = writer.cast(bits, layout.bits, layout.key)
    sign_off = writer.scalar(layout.key, layout.magnitude)
    return writer.binary("BitwiseAnd", wide, sign_off, layout.key)


def _threshold(
    writer: Writer, key: TensorRef, layout: _Layout, zeros: TensorRef
) -> tuple[TensorRef, TensorRef]:
    """The key of rank ``zeros``, and how many of the weights equal to it are to be dropped."""
    prefix, rank = None, zeros
    for shift in layout.shifts:
        digits = key
        if prefix is not None:
            digits = writer.binary("BitwiseXor", key, prefix, layout.key)
        digits = _digits(writer, digits, shift, layout)
        bins = _TOP_BINS if prefix is None else _BINS
        digit, rank = _digit_of_rank(writer, digits, bins, rank)
        digit = writer.cast(digit, DType.INT32, layout.key)
        if shift:
            place = writer.scalar(layout.key, shift)
            digit = writer.binary("LeftShift", digit, place, layout.key)
        if prefix is not None:
            digit = writer.binary("BitwiseOr", prefix, digit, layout.key)
        prefix = digit
    assert prefix is not None
    return prefix, rank


def _digits(writer: Writer, key: TensorRef, shift: int, layout: _Layout) -> TensorRef:
    if shift:
        key = writer.binary("RightShift", key, writer.scalar(layout.key, shift), layout.key)
    if layout.key is DType.INT32:
        return key
    key = writer.binary("Minimum", key, writer.scalar(layout.key, _BINS), layout.key)
    return writer.cast(key, layout.key, DType.INT32)


def _digit_of_rank(
    writer: Writer, digits: TensorRef, bins: int, rank: TensorRef
) -> tuple[TensorRef, TensorRef]:
    """The first digit by which ``rank`` weights are counted, and the rank left within it."""
    whole = DType.INT32
    one_each = writer.vector(whole, ())
    size = writer.scalar(whole, bins)
    counts = writer.add("Bincount", "Bincount", (digits, size, one_each), {"T": whole})
    axis = writer.scalar(whole, 0)
    running: Mapping[str, AttrValue] = {
        "T": whole,
        "Tidx": whole,
        "exclusive": False,
        "reverse": False,
    }
    sums = writer.add("Cumsum", "Cumsum", (counts, axis), running)
    below = writer.cast(writer.compare("Less", sums, rank, whole), DType.BOOL, whole)
    passed = writer.binary("Mul", sums, below, whole)
    fold: Mapping[str, AttrValue] = {"T": whole, "Tidx": whole, "keep_dims": True}
    digit = writer.add("Sum", "Sum", (below, axis), fold)
    skipped = writer.add("Max", "Max", (passed, axis), fold)
    return digit, writer.binary("Sub", rank, skipped, whole)


def _without_first(
    writer: Writer, mask: TensorRef, dtype: DType, equal: TensorRef, count: TensorRef
) -> TensorRef:
    """``mask`` with 0 at the first ``count`` places, in index order, where ``equal`` is true."""
    places = writer.add("Where", "Where", (equal,), {"T": DType.BOOL})
    whole = DType.INT32
    dropped = writer.add(
        "StridedSlice",
        "StridedSlice",
        (places, writer.vector(whole, (0,)), count, writer.vector(whole, (1,))),
        {
            "T": DType.INT64,
            "Index": whole,
            "begin_mask": 1,
            "end_mask": 0,
            "ellipsis_mask": 0,
            "new_axis_mask": 0,
            "shrink_axis_mask": 0,
        },
    )
    none = writer.scalar(dtype, 0.0)
    zeros = writer.add("Fill", "Fill", (count, none), {"T": dtype, "index_type": whole})
    return writer.add(
        "TensorScatterUpdate",
        "TensorScatterUpdate",
        (mask, dropped, zeros),
        {"T": dtype, "Tindices": DType.INT64},
    )


def _as_float(writer: Writer, key: TensorRef, dtype: DType, layout: _Layout) -> TensorRef:
    bits = writer.cast(key, layout.key, layout.bits)
    value = writer.add("Bitcast", "Bitcast", (bits,), {"T": layout.bits, "type": dtype})
    return writer.reshape(value, (), dtype)


def zeros_by_kernel(
    writer: Writer, share: TensorRef, wanted: tuple[float, ...], most: tuple[int, ...]
) -> tuple[TensorRef, ...]:
    """How many weights each kernel is to lose, as int32 tensors of shape [1].

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
    counts = writer.cast(now, DType.DOUBLE, DType.INT32)
    axis = writer.scalar(DType.INT32, 0)
    split = writer.add(
        "Split", "zeros", (axis, counts), {"T": DType.INT32, "num_split": len(wanted)}
    )
    return tuple(TensorRef(split.node, index) for index in range(len(wanted)))
