"""Gives up some of the weights that are kept and grows others, as graph nodes.

Two exact selections: of the active weights, those that stay; of all others, those that grow. What
stays counts as infinite in the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.select import Selection, select

_WHOLE = DType.INT32


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A new mask with what grew in it.

    Attributes:
        selection: of the scores' type; its threshold is the largest score that was given up.
        grown: the weights that were dropped and are kept now, a bool tensor.
    """

    selection: Selection
    grown: TensorRef


def exchange(
    writer: Writer,
    active: TensorRef,
    scores: tuple[TensorRef, DType],
    grow_by: tuple[TensorRef, DType],
    zeros: TensorRef,
    fraction: TensorRef,
    dims: tuple[int, ...],
) -> Exchanged:
    """Keeps the best of the active weights and grows others, ``zeros`` dropped in the end.

    Args:
        active: the weights kept so far, a bool tensor of shape ``dims``.
        scores: what the active ones are worth, and the type.
        grow_by: what the others are worth, and the type.
        zeros: how many to drop, an int32 tensor of shape [1].
        fraction: the share that is exchanged, a float64 scalar.
    """
    size = math.prod(dims)
    retained = _retained(writer, active, zeros, fraction, size)
    given_up = writer.binary("Sub", writer.scalar(_WHOLE, size), retained, _WHOLE)
    worth, dtype = scores
    least = writer.scalar(dtype, _SMALLEST[dtype])
    worth = writer.binary("Maximum", writer.unary("Abs", worth, dtype), least, dtype)
    worth = _where(writer, active, worth, writer.unary("ZerosLike", worth, dtype), dtype)
    first = select(writer, worth, dtype, given_up, dims)
    stays = _is_one(writer, first.mask, dtype)
    wish, grow_type = grow_by
    endless = writer.add(
        "Fill",
        "endless",
        (writer.vector(_WHOLE, dims), writer.scalar(grow_type, math.inf)),
        {"T": grow_type, "index_type": _WHOLE},
    )
    wish = _where(writer, stays, endless, wish, grow_type)
    second = select(writer, wish, grow_type, zeros, dims)
    kept = _is_one(writer, second.mask, grow_type)
    was_dropped = writer.add("LogicalNot", "dropped", (active,), {})
    grown = writer.add("LogicalAnd", "grown", (kept, was_dropped), {})
    return Exchanged(Selection(writer.cast(kept, DType.BOOL, dtype), first.threshold), grown)


_SMALLEST = {
    DType.HALF: 2.0**-14,
    DType.BFLOAT16: 2.0**-126,
    DType.FLOAT: 2.0**-126,
    DType.DOUBLE: 2.0**-1022,
}
"""The smallest normal number: an active weight of score 0 stays above those that are dropped."""


def _retained(
    writer: Writer, active: TensorRef, zeros: TensorRef, fraction: TensorRef, size: int
) -> TensorRef:
    """How many of the active weights stay, an int32 tensor of shape [1], at least 1."""
    kept = writer.binary("Sub", writer.scalar(_WHOLE, size), zeros, _WHOLE)
    exact = writer.binary("Mul", writer.cast(kept, _WHOLE, DType.DOUBLE), fraction)
    exchanged = writer.cast(writer.unary("Round", exact), DType.DOUBLE, _WHOLE)
    stays = writer.binary("Sub", kept, exchanged, _WHOLE)
    flags = writer.cast(writer.reshape(active, (-1,), DType.BOOL), DType.BOOL, _WHOLE)
    attrs: dict[str, AttrValue] = {"T": _WHOLE, "Tidx": _WHOLE, "keep_dims": True}
    count = writer.add("Sum", "active", (flags, writer.vector(_WHOLE, (0,))), attrs)
    stays = writer.binary("Minimum", stays, count, _WHOLE)
    return writer.binary("Maximum", stays, writer.scalar(_WHOLE, 1), _WHOLE)


def _is_one(writer: Writer, mask: TensorRef, dtype: DType) -> TensorRef:
    return writer.compare("Greater", mask, writer.scalar(dtype, 0.0), dtype)


def _where(
    writer: Writer, flags: TensorRef, yes: TensorRef, no: TensorRef, dtype: DType
) -> TensorRef:
    return writer.add("Select", "Select", (flags, yes, no), {"T": dtype})


def without_grown(writer: Writer, value: TensorRef, grown: TensorRef, dtype: DType) -> TensorRef:
    """``value`` with 0 where a weight has grown."""
    return _where(writer, grown, writer.unary("ZerosLike", value, dtype), value, dtype)
