"""Finds what criteria and regrowth policies read beside each kernel, or says why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from graphrev.analysis.frames import control_contexts
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import Graph
from graphrev.passes.mask.criteria import Criterion
from graphrev.passes.mask.joins import joined
from graphrev.passes.mask.plan import GradientMask
from graphrev.passes.mask.regrowth import Regrowth, slots_of
from graphrev.passes.mask.scales import scale_of
from graphrev.passes.mask.signals import Signals, Slope
from graphrev.passes.mask.slopes import in_part, slope_of
from graphrev.passes.mask.trace import Kernel
from graphrev.passes.mask.training import in_training_step
from graphrev.passes.mask.updates import updated_by
from graphrev.pipeline import Code, Rejection

_Matched = tuple[Kernel, Sequence[GradientMask]]


def find_signals(
    graph: Graph,
    kernels: Mapping[str, _Matched],
    criterion: Criterion,
    regrowth: Regrowth,
    train_op: str | None,
) -> tuple[dict[str, Signals], tuple[Rejection, ...]]:
    """The signals of each kernel, by name, and rejections of those that lack one.

    Raises:
        UsageError: the training op is needed and cannot be found.
    """
    step: Collection[str] = ()
    inside: Collection[str] = ()
    if criterion.running or regrowth.grows:
        step = in_training_step(graph, list(kernels), train_op)
        inside = control_contexts(graph)
    groups = joined(graph, [kernel for kernel, _ in kernels.values()])
    parts = Counter(groups.values())
    shapes = infer_shapes(graph) if step and len(parts) < len(groups) else None
    found: dict[str, Signals] = {}
    rejections: dict[str, Rejection] = {}
    for name, (kernel, gradients) in kernels.items():
        if parts[groups[name]] > 1:
            gradients = in_part(kernel, kernels[groups[name]][1])
        signals = _signals(graph, kernel, gradients, criterion, regrowth, step, inside, shapes)
        if isinstance(signals, Rejection):
            rejections[name] = signals
        else:
            found[name] = signals
    for name in _left_with_another(groups, rejections):
        if found.pop(name, None) is not None:
            reason = f"Kernel '{name}' is joined with one that is left alone."
            rejections[name] = Rejection(Code.KERNEL_SHARED, reason, (name,))
    return found, tuple(rejections.values())


def _left_with_another(groups: Mapping[str, str], left: Collection[str]) -> list[str]:
    """The kernels that are joined with one of ``left``: they are masked together or not at all."""
    torn = {groups[name] for name in left}
    return [name for name, group in groups.items() if group in torn]


def _signals(
    graph: Graph,
    kernel: Kernel,
    gradients: Sequence[GradientMask],
    criterion: Criterion,
    regrowth: Regrowth,
    step: Collection[str],
    inside: Collection[str],
    shapes: Shapes | None,
) -> Signals | Rejection:
    updates = updated_by(graph, kernel.name)
    slope: Slope | str | None = None
    if criterion.running or regrowth.needs_gradient:
        slope = slope_of(graph, kernel, gradients, updates, step, inside, shapes)
    elif regrowth.grows and not step:
        slope = "nothing in the graph trains it."
    if isinstance(slope, str):
        asks = criterion if criterion.running else regrowth
        reason = f"{asks.kind}={asks.name} needs the gradient of '{kernel.name}': {slope}"
        return Rejection(Code.NO_GRADIENT, reason, (kernel.name,))
    scale = scale_of(graph, kernel) if criterion.by_filter else None
    if isinstance(scale, str):
        reason = f"criterion={criterion.name} cannot rank '{kernel.name}': {scale}"
        return Rejection(Code.NO_BATCH_NORM, reason, (kernel.name,))
    slots = slots_of(graph, updates) if regrowth.grows else ()
    return Signals(slope, scale, slots)
