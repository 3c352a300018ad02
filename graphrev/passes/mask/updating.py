"""The mask update as part of a training step.

The optimizer's step comes first, then the global step is compared with the step of the last update.
Where an update is due, every mask is selected and assigned; where not, nothing runs. The training
op waits for whichever it was.

``due`` is a v1 ``Switch`` on a predicate; the kernels are read behind its true side, so a step
without an update costs a comparison. The step of the last update is a variable
and saved: several workers may make the global step jump, and a resumed run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import DType, TensorRef
from graphrev.ir.marks import END_ATTR
from graphrev.passes.mask.masked import Masked
from graphrev.passes.mask.nodes import AddedVariable, Writer, add_variable, assign
from graphrev.passes.mask.plan import KernelPlan, UpdatePlan
from graphrev.passes.mask.ranking import Clock, Ranked, rank
from graphrev.passes.mask.restoring import LAST_UPDATE
from graphrev.passes.mask.select import zeros_by_kernel

_SCOPE = "model_pruning/"
_LONG = DType.INT64


def add_update(
    editor: GraphEditor, plan: UpdatePlan, kernels: Sequence[Masked], first: Sequence[str]
) -> AddedVariable:
    """Adds the update; returns the variable that remembers the last one.

    Where no step is counted the variable only tells that the graph has masks.

    Args:
        first: what each training step runs before it is asked whether an update is due.
    """
    plan = replace(plan, after=(*plan.after, *first))
    writer = Writer(editor, _SCOPE)
    last = add_variable(
        Writer(editor, _SCOPE, device=editor[plan.step].device if plan.step else ""),
        LAST_UPDATE,
        constants.splat(_LONG, plan.schedule.begin - plan.schedule.frequency),
        is_resource=all(masked.plan.is_resource for masked in kernels),
        role="last-update",
        collections=("variables",),
        records={} if plan.schedule.end is None else {END_ATTR: plan.schedule.end},
    )
    if not plan.step:
        share = _share(writer, plan, writer.scalar(_LONG, 0))
        clock = Clock(writer.scalar(_LONG, 0), plan.schedule, plan.after)
        _update_all(writer, kernels, share, clock, "mask_update")
        return last
    step = _step(writer, plan)
    yes, no = _branch(writer, _due(writer, plan, step, last))
    share = _share(writer, plan, step)
    clock = Clock(step, plan.schedule, (yes.node,))
    updated = _update_all(writer, kernels, share, clock, "assign_masks")
    frequency = writer.scalar(_LONG, plan.schedule.frequency)
    since = _minus(writer, step, writer.scalar(_LONG, plan.schedule.begin))
    early = writer.binary("FloorMod", since, frequency, _LONG)
    noted = assign(
        writer,
        last.variable,
        _minus(writer, step, early),
        _LONG,
        is_resource=last.is_resource,
        waits=(yes.node,),
    )
    done = writer.add("Identity", "updated", (yes,), {"T": DType.BOOL}, waits=(updated, noted))
    merged = writer.add("Merge", "Merge", (no, done), {"T": DType.BOOL, "N": 2})
    update = writer.add(
        "NoOp",
        "mask_update",
        (),
        {},
        waits=(merged.node,),
        role="update",
        collections=("update_ops",) if plan.train_op is None else (),
    )
    if plan.train_op is not None:
        editor.add_controls(plan.train_op, (update.node,))
    return last


def _minus(writer: Writer, x: TensorRef, y: TensorRef) -> TensorRef:
    return writer.binary("Sub", x, y, _LONG)


def _step(writer: Writer, plan: UpdatePlan) -> TensorRef:
    """The number of finished steps, this one included, as an int64 scalar."""
    variable = TensorRef(plan.step)
    if plan.step_is_resource:
        read = writer.add(
            "ReadVariableOp", "step", (variable,), {"dtype": plan.step_dtype}, waits=plan.after
        )
    else:
        attrs = {"T": plan.step_dtype}
        read = writer.add("Identity", "step", (variable,), attrs, waits=plan.after)
    step = writer.cast(read, plan.step_dtype, _LONG)
    if not plan.counts_itself:
        return step
    return writer.binary("Add", step, writer.scalar(_LONG, 1), _LONG)


def _due(writer: Writer, plan: UpdatePlan, step: TensorRef, last: AddedVariable) -> TensorRef:
    schedule = plan.schedule

    def at_least(x: TensorRef, y: TensorRef | int) -> TensorRef:
        bound = writer.scalar(_LONG, y) if isinstance(y, int) else y
        return writer.compare("GreaterEqual", x, bound, _LONG)

    def both(op: str, x: TensorRef, y: TensorRef) -> TensorRef:
        return writer.add(op, op, (x, y), {})

    begun = at_least(step, schedule.begin)
    due = at_least(_minus(writer, step, last.value), schedule.frequency)
    if schedule.end is None:
        return both("LogicalAnd", begun, due)
    due = both("LogicalOr", due, at_least(step, schedule.end))
    end = writer.scalar(_LONG, schedule.end)
    open_ = writer.compare("Less", last.value, end, _LONG)
    return both("LogicalAnd", both("LogicalAnd", begun, open_), due)


def _branch(writer: Writer, due: TensorRef) -> tuple[TensorRef, TensorRef]:
    switch = writer.add("Switch", "due", (due, due), {"T": DType.BOOL})
    yes = writer.add("Identity", "yes", (TensorRef(switch.node, 1),), {"T": DType.BOOL})
    no = writer.add("Identity", "no", (switch,), {"T": DType.BOOL})
    return yes, no


def _update_all(
    writer: Writer,
    kernels: Sequence[Masked],
    share: TensorRef,
    clock: Clock,
    name: str,
) -> str:
    """Adds the update of every mask and an op that waits for all of them."""
    units = _ranked_together(kernels)
    base = clock.schedule.base
    wanted = tuple(_wanted([masked.plan for masked in unit]) / base for unit in units)
    zeros = zeros_by_kernel(writer, share, wanted, tuple(map(_most, units)))
    assigns: list[str] = []
    for unit, count in zip(units, zeros):
        first = unit[0].plan
        is_group = bool(first.group) or first.coupling is not None
        scope = "ranked_together" if is_group else first.variable
        kernel = "" if is_group else first.variable
        inner = Writer(
            writer.editor, f"{_SCOPE}{scope}/", kernel, host_of(first.device), shared=writer.shared
        )
        for masked, found in zip(unit, rank(inner, unit, count, clock)):
            assigns.extend(_assign_all(inner, masked, found))
    return writer.add("NoOp", name, (), {}, waits=assigns, role="update").node


def _ranked_together(kernels: Sequence[Masked]) -> list[list[Masked]]:
    units: dict[str, list[Masked]] = {}
    for masked in kernels:
        units.setdefault(masked.plan.together, []).append(masked)
    return list(units.values())


def _wanted(kernels: Sequence[KernelPlan]) -> float:
    """How many units are to be dropped in the end, before rounding."""
    if (coupling := kernels[0].coupling) is not None:
        return coupling.channels * sum(k.sparsity for k in kernels) / len(kernels)
    return sum(k.structure.units * k.sparsity for k in kernels)


def _most(unit: Sequence[Masked]) -> int:
    """How many may be dropped at most."""
    plans = [masked.plan for masked in unit]
    if (coupling := plans[0].coupling) is not None:
        return coupling.channels - (not plans[0].allow_empty)
    return sum(plan.structure.units - (not plan.allow_empty) for plan in plans)


def _share(writer: Writer, plan: UpdatePlan, step: TensorRef) -> TensorRef:
    """The share of the target (of ``base``) that is asked for, a float64 scalar."""
    if plan.source is None:
        return plan.schedule.write(writer, step)
    tensor, dtype = plan.source
    return writer.reshape(writer.cast(tensor, dtype, DType.DOUBLE), (), DType.DOUBLE)


def _assign_all(writer: Writer, masked: Masked, found: Ranked) -> Iterator[str]:
    """Assigns what an update finds for one kernel."""
    kernel = masked.plan
    beside = Writer(writer.editor, writer.scope, kernel.variable, kernel.device)
    resource, dtype = kernel.is_resource, kernel.dtype
    for variable, value in ((masked.mask, found.mask), (masked.threshold, found.threshold)):
        if value is not None:
            yield assign(beside, variable.variable, value, dtype, is_resource=resource)
    if found.weights is not None:
        yield assign(beside, kernel.variable, found.weights, dtype, is_resource=resource)
    for slot, value in found.slots:
        home = Writer(writer.editor, writer.scope, kernel.variable, slot.device)
        yield assign(home, slot.name, value, slot.dtype, is_resource=slot.is_resource)


def host_of(device: str) -> str:
    """The host of a device: integer histograms have no GPU kernels in TensorFlow 1.15."""
    parts = [part for part in device.split("/") if part]
    kept = [p for p in parts if not p.lower().startswith(("device:", "gpu:", "cpu:", "tpu:"))]
    if len(kept) == len(parts):
        return device
    return "".join(f"/{part}" for part in (*kept, "device:CPU:0"))
