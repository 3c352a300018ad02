"""The mask update of channels that several kernels share, as graph nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.blocks import block_scores, spread
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.plan import KernelPlan
from graphrev.passes.mask.select import Count, select

_WHOLE = DType.INT32


def select_channels(
    writer: Writer,
    kernels: Sequence[KernelPlan],
    scores: Sequence[TensorRef],
    dtype: DType,
    count: Count,
) -> list[tuple[TensorRef, TensorRef]]:
    """Drops the channels whose filters are worth least, summed over all kernels that share them.

    Args:
        kernels: kernels of one group; each has a coupling, and a filter is a block of it.
        scores: what their weights are worth (their filters, where the criterion goes by those), of
            ``dtype``.
        count: how many channels to drop.

    Returns:
        For each kernel its mask and the largest sum that is dropped.
    """
    filters: list[TensorRef] = []
    places: list[int] = []
    channels = 0
    for kernel, value in zip(kernels, scores):
        assert kernel.coupling is not None
        if kernel.criterion.by_filter:
            one_each = writer.unary("Abs", value, dtype)
        else:
            one_each = block_scores(writer, value, dtype, kernel.structure, "sum")
        filters.append(writer.reshape(one_each, (-1,), dtype))
        places.extend(kernel.coupling.places)
        channels = kernel.coupling.channels
    joined = _joined(writer, filters, dtype)
    attrs: Mapping[str, AttrValue] = {"T": dtype, "Tindices": _WHOLE, "Tnumsegments": _WHOLE}
    inputs = (joined, writer.vector(_WHOLE, places), writer.scalar(_WHOLE, channels))
    sums = writer.add("UnsortedSegmentSum", "worth", inputs, attrs)
    found = select(writer, sums, dtype, count)
    return [
        (_spread_over(writer, kernel, found.mask, dtype), found.threshold) for kernel in kernels
    ]


def _joined(writer: Writer, vectors: Sequence[TensorRef], dtype: DType) -> TensorRef:
    if len(vectors) == 1:
        return vectors[0]
    attrs: Mapping[str, AttrValue] = {"T": dtype, "Tidx": _WHOLE, "N": len(vectors)}
    return writer.add("ConcatV2", "ConcatV2", (*vectors, writer.scalar(_WHOLE, 0)), attrs)


def _spread_over(writer: Writer, kernel: KernelPlan, mask: TensorRef, dtype: DType) -> TensorRef:
    """The mask of a kernel: each filter has its channel's."""
    assert kernel.coupling is not None
    attrs: Mapping[str, AttrValue] = {
        "Tparams": dtype,
        "Tindices": _WHOLE,
        "Taxis": _WHOLE,
        "batch_dims": 0,
    }
    places = writer.vector(_WHOLE, kernel.coupling.places)
    inputs = (mask, places, writer.scalar(_WHOLE, 0))
    taken = writer.add("GatherV2", "channels", inputs, attrs)
    return spread(writer, taken, dtype, kernel.dims, kernel.structure)
