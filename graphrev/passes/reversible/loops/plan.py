"""What will be done to one block inside a while loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.ir import TensorRef


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """How one block inside a loop is rewritten.

    Attributes:
        name: the block's name.
        scope: the name scope of what is added.
        frame: the forward loop's frame name.
        halves: how many halves are undone in each iteration.
        inputs: the streams the block starts from.
        outputs: the streams it ends with.
        carried: whether the gradient loop carries the pair from iteration to iteration; otherwise
            its last state is saved once an iteration.
        carried_through: the frames around the loop whose gradient loops carry the pair too, from
            the outermost in.
        anchor_every: one pair in this many iterations is saved; ``None``: none is.
        recomputed: how many nodes run again in each iteration.
        removed: stacks that are no longer needed.
        kept: stacks of this pair of loops that are.
        added: tensors that are saved instead, once an iteration.
        drift: estimated relative L2 rounding drift per iteration that is undone.
    """

    name: str
    scope: str
    frame: str
    halves: int
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    carried: bool
    carried_through: tuple[str, ...]
    anchor_every: int | None
    recomputed: int
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    added: tuple[TensorRef, ...]
    drift: float

    @property
    def pairs(self) -> int:
        """How many residual pairs one iteration holds."""
        return (self.halves + 1) // 2

    def to_json(self) -> dict[str, Any]:
        """The block as plain data."""
        return {
            "name": self.name,
            "scope": self.scope,
            "frame": self.frame,
            "pairs": self.pairs,
            "inputs": [str(ref) for ref in self.inputs],
            "outputs": [str(ref) for ref in self.outputs],
            "reversible_loop": self.carried,
            "carried_through": list(self.carried_through),
            "anchor_every": self.anchor_every,
            "recomputed_nodes": self.recomputed,
            "removed_stacks": list(self.removed),
            "kept_stacks": list(self.kept),
            "saved_per_iteration": [str(ref) for ref in self.added],
            "estimated_drift_per_iteration": self.drift,
        }

    def describe(self) -> str:
        """The block in one line, safe to print."""
        how = "reversible loop" if self.carried else "block in loop"
        anchors = "" if self.anchor_every is None else f", saved every {self.anchor_every}"
        if self.carried and not anchors:
            anchors = ", no anchors: more drift where the streams grow"
        return (
            f"{how} {printable(self.name)}: {self.pairs} pairs an iteration of "
            f"{printable(self.frame)}{self._nest()}, "
            f"{len(self.removed)} stacks removed, {len(self.kept)} kept, "
            f"{len(self.added)} added{anchors}, drift about {self.drift:.1e} an iteration"
        )

    def _nest(self) -> str:
        if not self.carried_through:
            return ""
        return f", carried through {', '.join(printable(name) for name in self.carried_through)}"
