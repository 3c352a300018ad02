"""The running figures of criteria: a variable beside the mask that each training step changes.

A figure is changed before the optimizer changes the kernel: a reference variable's read would
show the new weight otherwise.
"""

from __future__ import annotations

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.passes.mask.criteria import finite, float_of
from graphrev.passes.mask.masked import Masked
from graphrev.passes.mask.nodes import AddedVariable, Writer, add_variable, assign
from graphrev.passes.mask.plan import KernelPlan
from graphrev.passes.mask.slopes import write_slope

ROLE = "score"


def add_running(writer: Writer, kernel: KernelPlan) -> AddedVariable | None:
    """Adds the variable, where the criterion keeps a figure."""
    if not kernel.criterion.running:
        return None
    return add_variable(
        writer,
        f"score{kernel.part}",
        constants.splat(float_of(kernel.dtype), 0.0, kernel.dims),
        is_resource=kernel.is_resource,
        role=ROLE,
        collections=("variables",),
    )


def add_steps(editor: GraphEditor, masked: Masked) -> tuple[str, ...]:
    """Adds the gradient, where something reads it, and the change of the figure by each step.

    Returns the ops that a training step is to run.
    """
    kernel, slope = masked.plan, masked.plan.signals.slope
    if slope is None:
        return ()
    scope = f"{kernel.scope}score{kernel.part}_step/"
    writer = Writer(editor, scope, kernel.variable, kernel.device, place=kernel.variable)
    gradient = masked.slope = write_slope(writer, editor.graph, slope, kernel.dtype)
    running = masked.running
    if running is None:
        return ()
    dtype = float_of(kernel.dtype)
    counts_dropped = kernel.criterion.counts_dropped
    weights = slope.weights if counts_dropped else masked.products[slope.weights]
    weights = writer.cast(weights, kernel.dtype, dtype)
    product = finite(writer, writer.binary("Mul", weights, gradient, dtype), dtype)
    fresh = kernel.criterion.step(writer, running.value, product, dtype)
    resource = kernel.is_resource
    done = assign(writer, running.variable, fresh, dtype, is_resource=resource)
    if not resource:
        for update in slope.updates:
            editor.add_controls(update, (done,))
    return (done,)
