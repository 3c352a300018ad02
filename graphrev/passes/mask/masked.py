"""What was added for one kernel."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphrev.ir import TensorRef
from graphrev.passes.mask.nodes import AddedVariable
from graphrev.passes.mask.plan import KernelPlan


@dataclass
class Masked:
    """The variables beside a kernel.

    Attributes:
        running: the figure that its criterion keeps, if it keeps one.
        products: mask times kernel, by the read of the kernel.
        slope: its gradient, where something reads it.
        views: copies of views that were made for it, by name.
    """

    plan: KernelPlan
    mask: AddedVariable
    threshold: AddedVariable
    running: AddedVariable | None = None
    products: dict[TensorRef, TensorRef] = field(default_factory=dict[TensorRef, TensorRef])
    slope: TensorRef | None = None
    views: dict[str, TensorRef] = field(default_factory=dict[str, TensorRef])

    def variables(self) -> tuple[AddedVariable, ...]:
        """All that is saved and initialized with the kernel."""
        added = (self.mask, self.threshold, self.running)
        return tuple(variable for variable in added if variable is not None)
