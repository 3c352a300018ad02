"""What the reversible pass will do, in full: ``apply`` only carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.ir import DType, TensorRef
from graphrev.passes.reversible.halves import Half
from graphrev.passes.reversible.loops.plan import LoopPlan
from graphrev.recomputation.functions.levels import LevelPlan
from graphrev.recomputation.steps import Redirect, Replay


@dataclass(frozen=True, slots=True)
class HalfPlan:
    """How one half is undone.

    Attributes:
        half: the half.
        clones: region nodes to copy, in topological order.
        triggers: nodes that must have run before the copies may start.
        redirects: backward readers of values inside the region.
        recover: whether ``p`` is rebuilt (not for a saved stream, nor where nobody needs it).
        stream_redirects: backward readers of ``p`` and of identities of it.
        device: the device of the gate.
        conditional_triggers: triggers in branches, which need not be taken.
    """

    half: Half
    clones: tuple[str, ...]
    triggers: tuple[str, ...]
    redirects: tuple[Redirect, ...]
    recover: bool
    stream_redirects: tuple[Redirect, ...]
    device: str = ""
    conditional_triggers: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this half is recomputed."""
        return not self.clones and not self.recover


@dataclass(frozen=True, slots=True)
class Guard:
    """``mutator`` writes a reference variable in place: it must wait for ``clones`` of a half."""

    half: int
    mutator: str
    clones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeferredHalf:
    """How a half gets its gradient in a graph that is not differentiated yet.

    Attributes:
        place: which operand of the sum ``h`` is.
        start: what the region is computed from: ``q``, or the identity it is read through.
        captures: what the region reads from outside, and the types of it.
        dtype: the type the streams have.
        kept: whether ``p`` is kept instead of rebuilt.
        replayed: random ops in the region that draw from a saved seed.
    """

    place: int
    start: TensorRef
    captures: tuple[tuple[TensorRef, DType], ...]
    dtype: DType
    kept: bool
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How one block is rewritten.

    Attributes:
        name: the block's name, from its mark or numbered.
        scope: the name scope of what is added.
        halves: plans of the halves in forward order.
        saved: streams that are kept instead of rebuilt (anchors, fetched streams).
        guards: in-place updates that must wait for copies that still read the old value.
        replays: random ops to make stateless.
        drift: estimated relative L2 rounding drift of the worst rebuilt stream.
        freed_bytes: activation bytes no longer kept for the backward pass, where shapes are known.
        saved_bytes: bytes of the saved streams, where shapes are known.
        deferred: how the halves get gradients of their own, where nothing differentiates them yet;
            empty where the backward pass is there.
        branched: whether the block lies in a branch of a cond.
        conditional: whether some of its copies do, so that not every step runs them.
    """

    name: str
    scope: str
    halves: tuple[HalfPlan, ...]
    saved: tuple[TensorRef, ...]
    guards: tuple[Guard, ...]
    replays: tuple[Replay, ...]
    drift: float
    freed_bytes: int | None
    saved_bytes: int | None
    deferred: tuple[DeferredHalf, ...] = ()
    branched: bool = False
    conditional: bool = False

    @property
    def inputs(self) -> tuple[TensorRef, TensorRef]:
        """The streams the block starts from."""
        return (self.halves[0].half.p, self.halves[0].half.q)

    @property
    def outputs(self) -> tuple[TensorRef, TensorRef]:
        """The streams it ends with."""
        return (self.halves[-1].half.q, self.halves[-1].half.y)

    def to_json(self) -> dict[str, Any]:
        """The block as plain data."""
        return {
            "name": self.name,
            "scope": self.scope,
            "pairs": (len(self.halves) + 1) // 2,
            "inputs": [str(ref) for ref in self.inputs],
            "outputs": [str(ref) for ref in self.outputs],
            "halves": [_half_json(plan) for plan in self.halves],
            "saved_streams": [str(ref) for ref in self.saved],
            "guarded_updates": sorted({guard.mutator for guard in self.guards}),
            "stateless_random_ops": [replay.node for replay in self.replays],
            "estimated_drift": self.drift,
            "freed_bytes": self.freed_bytes,
            "saved_bytes": self.saved_bytes,
            "deferred": bool(self.deferred),
        }


def _half_json(plan: HalfPlan) -> dict[str, Any]:
    half = plan.half
    return {
        "y": str(half.y),
        "p": str(half.p),
        "q": str(half.q),
        "recovery": half.recovery.value,
        "recomputed_nodes": len(plan.clones),
        "rebuilds_p": plan.recover,
        "triggers": [*plan.triggers, *plan.conditional_triggers],
    }


@dataclass(frozen=True)
class ReversiblePlan(LevelPlan):
    """Blocks to rewrite, and why each near miss is left alone."""

    blocks: tuple[BlockPlan, ...] = ()
    loops: tuple[LoopPlan, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no block is rewritten."""
        return not self.blocks and not self.loops and not self.function_edits

    def summary(self) -> str:
        """One line for people."""
        pairs = sum((len(block.halves) + 1) // 2 for block in self.blocks)
        pairs += sum(loop.pairs for loop in self.loops)
        inside = [block for function in self.functions for block in function.blocks]
        pairs += sum(block["pairs"] for block in inside)
        clones = sum(len(half.clones) for block in self.blocks for half in block.halves)
        clones += sum(loop.recomputed for loop in self.loops)
        blocks = len(self.blocks) + len(self.loops) + len(inside)
        return (
            f"{blocks} {'block' if blocks == 1 else 'blocks'} of "
            f"{pairs} residual {'pair' if pairs == 1 else 'pairs'}, "
            f"{clones} nodes recomputed, "
            f"{len(self.rejections)} left alone"
        )

    def describe(self) -> tuple[str, ...]:
        """One line per block."""
        lines = (_block_line(block) for block in self.blocks)
        loops = (loop.describe() for loop in self.loops)
        return (*lines, *loops, *(function.describe() for function in self.functions))

    def parts(self) -> tuple[dict[str, Any], ...]:
        """The blocks and the loops, as plain data."""
        return tuple(part.to_json() for part in (*self.blocks, *self.loops))

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "blocks": [block.to_json() for block in self.blocks],
            "loops": [loop.to_json() for loop in self.loops],
            "functions": [function.to_json() for function in self.functions],
        }


def _block_line(block: BlockPlan) -> str:
    pairs = (len(block.halves) + 1) // 2
    freed = "" if block.freed_bytes is None else f", frees {block.freed_bytes / 1e6:.1f} MB"
    kept = ""
    if block.saved:
        size = "" if block.saved_bytes is None else f" ({block.saved_bytes / 1e6:.1f} MB)"
        kept = f", {len(block.saved)} streams kept{size}"
    ends = " -> ".join(printable(ref.node) for ref in (block.inputs[0], block.outputs[1]))
    name = printable(block.name)
    if block.deferred:
        kept += ", recomputed when it is differentiated"
    return f"block {name}: {pairs} pairs, {ends}{freed}{kept}, drift about {block.drift:.1e}"
