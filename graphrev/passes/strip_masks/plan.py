"""What is stripped, in full: ``apply`` only carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.ir import TensorRef, TensorValue
from graphrev.pipeline import Plan


@dataclass(frozen=True, slots=True)
class Fold:
    """A product of two constants, a mask and a kernel, that becomes the kernel.

    Attributes:
        product: the product.
        kernel: the kernel's constant, which takes the product's value.
        source: the tensor that the readers of the product are to read.
        value: the masked kernel.
    """

    product: str
    kernel: str
    source: TensorRef
    value: TensorValue


@dataclass(frozen=True, slots=True)
class Shrink:
    """A save op that loses its last ``dropped`` tensors."""

    node: str
    kept: int
    dropped: int


@dataclass(frozen=True)
class StripPlan(Plan):
    """What is taken out, and why each near miss is left alone.

    Attributes:
        folds: products of constants (a frozen graph).
        undone: tensors of nodes a mask pass added, and what their readers read before.
        released: nodes that no longer wait for some others, with what they still wait for.
        shrunk: the savers that held masks.
        unlisted: nodes that leave the collections a mask pass put them in.
        removed: nodes that go, readers before what they read.
        kernels: the kernels that were masked.
    """

    folds: tuple[Fold, ...] = ()
    undone: tuple[tuple[TensorRef, TensorRef], ...] = ()
    released: tuple[tuple[str, tuple[str, ...]], ...] = ()
    shrunk: tuple[Shrink, ...] = ()
    unlisted: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is stripped."""
        return not self.removed and not self.folds

    def summary(self) -> str:
        """One line for people."""
        return f"{len(self.kernels)} masks stripped, {len(self.removed)} nodes removed"

    def describe(self) -> tuple[str, ...]:
        """One line per kernel."""
        folded = {fold.kernel for fold in self.folds}
        return tuple(
            f"{printable(name)}: {'multiplied by its mask' if name in folded else 'read raw again'}"
            for name in self.kernels
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "kernels": list(self.kernels),
            "folded": [fold.kernel for fold in self.folds],
            "removed_nodes": len(self.removed),
        }
