"""What is removed, in full: ``apply`` only carries it out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrev.analysis.channels import Initial, Target
from graphrev.errors import printable
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.folding import Bias
from graphrev.passes.shrink.norms import FoldedNorm
from graphrev.pipeline import Plan


@dataclass(frozen=True, slots=True)
class Smaller:
    """A constant or variable that loses channels.

    Attributes:
        name: its node.
        before: its shape before.
        kept: by axis, the places that stay, in order.
        values: what it holds afterwards; ``None`` where that is not known.
    """

    name: str
    before: tuple[int, ...]
    kept: Mapping[int, tuple[int, ...]]
    values: Array | None

    @property
    def after(self) -> tuple[int, ...]:
        """Its shape afterwards."""
        return tuple(len(self.kept.get(a, range(size))) for a, size in enumerate(self.before))


@dataclass(frozen=True, slots=True)
class Resplit:
    """A split whose parts become ``sizes``."""

    node: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """Numbers of a graph: weights, and operations on one example where shapes are known.

    A multiplication and an addition are two operations.
    """

    parameters: int
    operations: int | None


@dataclass(frozen=True)
class ShrinkPlan(Plan):
    """Channels to remove, and why each near miss stays.

    Attributes:
        smaller: the weights that lose channels.
        kernels: the names of those that are kernels, with the axis of their filters.
        targets: integer inputs that spell a shape, with the new size.
        splits: splits whose parts change.
        initials: assignments of a variable's first value, which is cut to size.
        biases: what is added behind products.
        norms: batch norms that become a bias; their kernels are among ``smaller``.
        resized: nodes whose output gets another shape.
        removed: the number of channels (coupled ones count once) that go.
        carriers: how many channels stay to carry constants.
        saved: variables by the name they are saved under, as they are afterwards; ``None`` where
            no checkpoint was given.
    """

    smaller: tuple[Smaller, ...] = ()
    kernels: Mapping[str, int] = field(default_factory=dict[str, int])
    targets: tuple[tuple[Target, int], ...] = ()
    splits: tuple[Resplit, ...] = ()
    initials: tuple[Initial, ...] = ()
    biases: tuple[Bias, ...] = ()
    norms: tuple[FoldedNorm, ...] = ()
    resized: tuple[str, ...] = ()
    removed: int = 0
    carriers: int = 0
    before: Cost = Cost(0, None)
    after: Cost = Cost(0, None)
    saved: Mapping[str, Array] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is removed."""
        return not self.smaller

    def checkpoint(self) -> Mapping[str, Array] | None:
        """The variables as the smaller graph has them."""
        return self.saved

    def summary(self) -> str:
        """One line for people."""
        if self.is_empty:
            return f"no channels removed, {len(self.rejections)} near misses"
        folded = f"{len(self.norms)} batch norms folded, " if self.norms else ""
        return (
            f"{self.removed} channels removed from {len(self.kernels)} kernels, parameters "
            f"{_change(self.before.parameters, self.after.parameters)}, FLOPs "
            f"{_change(self.before.operations, self.after.operations)}, "
            f"{folded}{len(self.rejections)} near misses"
        )

    def describe(self) -> tuple[str, ...]:
        """One line per kernel."""
        return tuple(_line(one) for one in self.smaller if one.name in self.kernels)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "channels_removed": self.removed,
            "carriers": self.carriers,
            "biases_added": len(self.biases),
            "norms_folded": len(self.norms),
            "parameters": {"before": self.before.parameters, "after": self.after.parameters},
            "flops": {"before": self.before.operations, "after": self.after.operations},
            "kernels": [
                {"kernel": one.name, "before": list(one.before), "after": list(one.after)}
                for one in self.smaller
                if one.name in self.kernels
            ],
        }


def _line(one: Smaller) -> str:
    before, after = ("x".join(map(str, dims)) for dims in (one.before, one.after))
    share = 1 - math.prod(one.after) / math.prod(one.before)
    return f"{printable(one.name)}: [{before}] -> [{after}], {share:.1%} fewer weights"


def _change(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return "unknown"
    share = f" ({after / before - 1:+.1%})" if before else ""
    return f"{before:,} -> {after:,}{share}"
