"""Finds what criteria and regrowth policies read beside each kernel, or says why there is none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from graphrev.analysis.frames import control_contexts
from graphrev.ir import Graph
from graphrev.passes.mask.criteria import Criterion
from graphrev.passes.mask.gradients import updated_by
from graphrev.passes.mask.plan import GradientMask
from graphrev.passes.mask.regrowth import Regrowth, slots_of
from graphrev.passes.mask.scales import scale_of
from graphrev.passes.mask.signals import Signals, Slope
from graphrev.passes.mask.slopes import slope_of
from graphrev.passes.mask.trace import Kernel
from graphrev.passes.mask.training import in_training_step
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
    found: dict[str, Signals] = {}
    rejections: list[Rejection] = []
    for name, (kernel, gradients) in kernels.items():
        signals = _signals(graph, kernel, gradients, criterion, regrowth, step, inside)
        if isinstance(signals, Rejection):
            rejections.append(signals)
        else:
            found[name] = signals
    return found, tuple(rejections)


def _signals(
    graph: Graph,
    kernel: Kernel,
    gradients: Sequence[GradientMask],
    criterion: Criterion,
    regrowth: Regrowth,
    step: Collection[str],
    inside: Collection[str],
) -> Signals | Rejection:
    updates = updated_by(graph, kernel.name)
    slope: Slope | str | None = None
    if criterion.running or regrowth.needs_gradient:
        slope = slope_of(graph, kernel, gradients, updates, step, inside)
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
