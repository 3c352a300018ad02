"""What the recompute pass will do, in full: ``apply`` only carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.ir import DType, TensorRef
from graphrev.passes.recompute.loops.plan import LoopPlan
from graphrev.recomputation.functions.levels import LevelPlan
from graphrev.recomputation.steps import Redirect, Replay


@dataclass(frozen=True, slots=True)
class Gate:
    """A tensor that an identity is made of: its type, and the device that is put on."""

    tensor: TensorRef
    dtype: DType
    device: str


@dataclass(frozen=True, slots=True)
class Guard:
    """``mutator`` writes a reference variable in place, whose value the ``clones`` read."""

    mutator: str
    clones: tuple[str, ...]


Typed = tuple[TensorRef, DType]


@dataclass(frozen=True, slots=True)
class Deferral:
    """How a region that nothing differentiates yet gets a gradient of its own.

    Attributes:
        outputs: what the region's last ops read from inside.
        captures: everything else that the region reads from outside.
        starts: the activations that enter it.
        last: the last ops; they stay outside, since programs hold their tensors.
        device: of the node that carries the gradient.
    """

    outputs: tuple[Typed, ...]
    captures: tuple[Typed, ...]
    starts: tuple[Typed, ...]
    last: tuple[str, ...]
    device: str


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """How one region is computed again.

    Attributes:
        name: the region's name.
        scope: the name scope of what is added.
        rank: the place of the region's last node; a later region ranks higher.
        clones: nodes to copy, in topological order.
        gates: the activations that the copies start from.
        triggers: nodes that must have run before the copies may start.
        redirects: backward readers of values inside the region.
        guards: in-place updates that must wait for copies that still read the old value.
        replays: random ops to make stateless.
        freed_bytes: activation bytes no longer kept for the backward pass, where shapes are known.
        conditional_triggers: triggers in branches, which need not be taken.
        results: what is recomputed for readers, where guarded updates wait for it: Grappler does
            not fuse an op that somebody waits for, and would round a copied product otherwise.
        conditional: whether copies lie in branches.
        deferral: set where the graph is not differentiated yet; gates, triggers, redirects and
            guards are then the gradient's business, when somebody asks for it.
    """

    name: str
    scope: str
    rank: int
    clones: tuple[str, ...]
    gates: tuple[Gate, ...]
    triggers: tuple[str, ...]
    redirects: tuple[Redirect, ...]
    guards: tuple[Guard, ...]
    replays: tuple[Replay, ...]
    freed_bytes: int | None
    deferral: Deferral | None = None
    conditional_triggers: tuple[str, ...] = ()
    results: tuple[Gate, ...] = ()
    conditional: bool = False

    @property
    def kept(self) -> tuple[TensorRef, ...]:
        """The activations that the region is computed again from."""
        if self.deferral is not None:
            return tuple(ref for ref, _ in self.deferral.starts)
        return tuple(gate.tensor for gate in self.gates)

    @property
    def recomputed(self) -> tuple[TensorRef, ...]:
        """The values that are computed again for a reader."""
        if self.deferral is not None:
            return tuple(ref for ref, _ in self.deferral.outputs)
        return tuple(redirect.tensor for redirect in self.redirects)

    def to_json(self) -> dict[str, Any]:
        """The region as plain data."""
        return {
            "name": self.name,
            "scope": self.scope,
            "kept": [str(ref) for ref in self.kept],
            "recomputed_nodes": len(self.clones),
            "recomputed_tensors": [str(ref) for ref in self.recomputed],
            "deferred": self.deferral is not None,
            "triggers": [*self.triggers, *self.conditional_triggers],
            "guarded_updates": sorted({guard.mutator for guard in self.guards}),
            "stateless_random_ops": [replay.node for replay in self.replays],
            "freed_bytes": self.freed_bytes,
        }


@dataclass(frozen=True)
class RecomputePlan(LevelPlan):
    """Regions to compute again, and why each other one is left alone."""

    regions: tuple[RegionPlan, ...] = ()
    loops: tuple[LoopPlan, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no region is rewritten."""
        return not self.regions and not self.loops and not self.function_edits

    def summary(self) -> str:
        """One line for people."""
        parts = (*self.regions, *self.loops)
        clones = sum(len(part.clones) for part in parts)
        inside = [block for function in self.functions for block in function.blocks]
        count = len(parts) + len(inside)
        clones += sum(block["recomputed_nodes"] for block in inside)
        return f"{count} regions, {clones} nodes recomputed, {len(self.rejections)} left alone"

    def describe(self) -> tuple[str, ...]:
        """One line per region."""
        lines = (_region_line(region) for region in self.regions)
        loops = (loop.describe() for loop in self.loops)
        return (*lines, *loops, *(function.describe() for function in self.functions))

    def parts(self) -> tuple[dict[str, Any], ...]:
        """The regions and the loops, as plain data."""
        return tuple(part.to_json() for part in (*self.regions, *self.loops))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "regions": [region.to_json() for region in self.regions],
            "loops": [loop.to_json() for loop in self.loops],
            "functions": [function.to_json() for function in self.functions],
        }


def _region_line(region: RegionPlan) -> str:
    kept = ", ".join(printable(str(ref)) for ref in region.kept[:4])
    more = f" and {len(region.kept) - 4} more" if len(region.kept) > 4 else ""
    freed = "" if region.freed_bytes is None else f", frees {region.freed_bytes / 1e6:.1f} MB"
    name, later = printable(region.name), "" if region.deferral is None else " when differentiated"
    return f"region {name}: {len(region.clones)} nodes recomputed{later} from {kept}{more}{freed}"
