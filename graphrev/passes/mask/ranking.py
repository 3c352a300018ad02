"""The new masks of kernels that are ranked together (mostly one): scores, selection, regrowth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphrev.ir import DType, TensorRef
from graphrev.passes.mask.blocks import select_blocks, select_few_of, select_together, spread
from graphrev.passes.mask.coupled import select_channels
from graphrev.passes.mask.criteria import Scored, float_of, lifted
from graphrev.passes.mask.exchanging import exchange, without_grown
from graphrev.passes.mask.masked import Masked
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.regrowth import Growing
from graphrev.passes.mask.schedule import Schedule
from graphrev.passes.mask.select import Count, select
from graphrev.passes.mask.signals import Variable


@dataclass(frozen=True, slots=True)
class Clock:
    """When an update is: the step (an int64 scalar), the schedule, and what an update waits for."""

    step: TensorRef
    schedule: Schedule
    waits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What an update finds for a kernel, in the kernel's type.

    Attributes:
        threshold: the largest score that is dropped, where there is one.
        weights: the kernel with its grown weights at 0, where some may grow.
        slots: the optimizer's slots, likewise.
    """

    mask: TensorRef
    threshold: TensorRef | None = None
    weights: TensorRef | None = None
    slots: tuple[tuple[Variable, TensorRef], ...] = ()


def rank(writer: Writer, unit: Sequence[Masked], count: Count, clock: Clock) -> Sequence[Ranked]:
    """Adds the selection.

    Args:
        unit: the kernels that are ranked together, all of one type.
        count: how many of their weights (or blocks) to drop.
    """
    kernel = unit[0].plan
    weights = [
        read(writer, k.variable, k.dtype, is_resource=k.is_resource, waits=clock.waits)
        for k in (masked.plan for masked in unit)
    ]
    scores = [_scores(writer, one, value, clock) for one, value in zip(unit, weights)]
    score_type = kernel.criterion.dtype_of(kernel.dtype)
    if kernel.criterion.signed:
        scores = lifted(writer, scores, score_type)
    if kernel.coupling is not None:
        found = select_channels(writer, [one.plan for one in unit], scores, score_type, count)
        found = [Ranked(mask, threshold) for mask, threshold in found]
        return [_in_type(writer, one, score_type, kernel.dtype) for one in found]
    if kernel.regrowth.grows:
        return [_exchanged(writer, unit[0], weights[0], (scores[0], score_type), count, clock)]
    if kernel.group:
        shapes = [one.plan.dims for one in unit]
        masks, threshold = select_together(
            writer, scores, shapes, score_type, count.zeros, allow_empty=kernel.allow_empty
        )
        found = [Ranked(mask, threshold) for mask in masks]
    else:
        found = [_ranked(writer, unit[0], scores[0], score_type, count)]
    return [_in_type(writer, one, score_type, kernel.dtype) for one in found]


def _ranked(
    writer: Writer, masked: Masked, scores: TensorRef, dtype: DType, count: Count
) -> Ranked:
    kernel = masked.plan
    dims, structure = kernel.dims, kernel.structure
    if kernel.criterion.by_filter:
        found = select(writer, scores, dtype, count)
        return Ranked(spread(writer, found.mask, dtype, dims, structure), found.threshold)
    if structure.kind == "n:m":
        return Ranked(select_few_of(writer, scores, dtype, dims, structure))
    if structure.kind == "blocks":
        found = select_blocks(writer, scores, dtype, dims, structure, count.zeros)
    else:
        found = select(writer, scores, dtype, count, dims)
    return Ranked(found.mask, found.threshold)


def _in_type(writer: Writer, found: Ranked, old: DType, new: DType) -> Ranked:
    threshold = found.threshold
    if threshold is not None:
        threshold = writer.cast(threshold, old, new)
    return Ranked(writer.cast(found.mask, old, new), threshold)


def _scores(writer: Writer, masked: Masked, weights: TensorRef, clock: Clock) -> TensorRef:
    """What the weights of a kernel are worth, after the optimizer's step."""
    kernel = masked.plan
    running = scale = None
    if masked.running is not None:
        name, dtype = masked.running.variable, masked.running.dtype
        resource = masked.running.is_resource
        running = read(writer, name, dtype, is_resource=resource, waits=clock.waits)
    if (source := kernel.signals.scale) is not None:
        value = read(
            writer, source.name, source.dtype, is_resource=source.is_resource, waits=clock.waits
        )
        wanted = kernel.criterion.dtype_of(kernel.dtype)
        scale = writer.cast(value, source.dtype, wanted)
    scored = Scored(weights, kernel.dtype, kernel.dims, kernel.variable, running, scale)
    return kernel.criterion(writer, scored)


def _exchanged(
    writer: Writer,
    masked: Masked,
    weights: TensorRef,
    scores: tuple[TensorRef, DType],
    count: Count,
    clock: Clock,
) -> Ranked:
    """The mask after some weights were given up for others, which start at 0."""
    kernel = masked.plan
    waits, wide = clock.waits, float_of(kernel.dtype)
    resource = kernel.is_resource
    mask = read(writer, masked.mask.variable, kernel.dtype, is_resource=resource, waits=waits)
    active = writer.compare("Greater", mask, writer.scalar(kernel.dtype, 0.0), kernel.dtype)
    growing = Growing(kernel.dims, kernel.variable, clock.step, masked.slope, wide)
    wish = kernel.regrowth(writer, growing)
    fraction = kernel.regrowth.fraction(writer, clock.schedule, clock.step)
    dims = kernel.dims
    found = exchange(writer, active, scores, (wish, wide), count.zeros, fraction, dims)
    ranked = Ranked(found.selection.mask, found.selection.threshold)
    ranked = _in_type(writer, ranked, scores[1], kernel.dtype)
    slots: list[tuple[Variable, TensorRef]] = []
    for slot in kernel.signals.slots:
        value = read(writer, slot.name, slot.dtype, is_resource=slot.is_resource, waits=waits)
        slots.append((slot, without_grown(writer, value, found.grown, slot.dtype)))
    reset = without_grown(writer, weights, found.grown, kernel.dtype)
    return Ranked(ranked.mask, ranked.threshold, reset, tuple(slots))


def read(
    writer: Writer, variable: str, dtype: DType, *, is_resource: bool, waits: tuple[str, ...]
) -> TensorRef:
    """A variable's value after ``waits``."""
    source = (TensorRef(variable),)
    if is_resource:
        return writer.add("ReadVariableOp", "weights", source, {"dtype": dtype}, waits=waits)
    return writer.add("Identity", "weights", source, {"T": dtype}, waits=waits)
