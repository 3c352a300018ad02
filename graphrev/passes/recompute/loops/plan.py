"""What will be done to one loop whose body is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrev.errors import printable
from graphrev.ir import TensorRef


@dataclass(frozen=True, slots=True)
class LoopPlan:
    """How one loop's body is computed again in one gradient loop of it.

    Attributes:
        name: the region's name, or one made from the frame's.
        scope: the name scope of what is added.
        frame: the forward loop's frame name.
        regions: the regions of the body; one for all of it where the frame was asked for.
        clones: nodes of the body that run again in each iteration of the gradient loop.
        sources: what they start from: loop variables, TensorArray reads, random draws.
        added: those of ``sources`` that nobody saved before, one stack each.
        read_again: those of ``sources`` that are slices of a tensor outside the loop which is there
            anyway, and that tensor; nothing is saved for them.
        removed: stacks that are no longer needed.
        kept: stacks of this pair of loops that are.
        freed_bytes: bytes an iteration no longer saves, less what it saves instead, where shapes
            are known; what shares a buffer with something alive counts in full.
    """

    name: str
    scope: str
    frame: str
    regions: tuple[str, ...]
    clones: tuple[str, ...]
    sources: tuple[TensorRef, ...]
    added: tuple[TensorRef, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    freed_bytes: int | None
    read_again: Mapping[TensorRef, TensorRef] = field(default_factory=dict[TensorRef, TensorRef])

    def to_json(self) -> dict[str, Any]:
        """The loop as plain data."""
        return {
            "name": self.name,
            "scope": self.scope,
            "frame": self.frame,
            "regions": list(self.regions),
            "recomputed_nodes": len(self.clones),
            "starts_from": [str(ref) for ref in self.sources],
            "saved_per_iteration": [str(ref) for ref in self.added],
            "read_again": {str(ref): str(whole) for ref, whole in self.read_again.items()},
            "removed_stacks": list(self.removed),
            "kept_stacks": list(self.kept),
            "freed_bytes_per_iteration": self.freed_bytes,
        }

    def describe(self) -> str:
        """The loop in one line, safe to print."""
        freed = ""
        if self.freed_bytes is not None:
            freed = f", frees {self.freed_bytes / 1e3:.1f} kB an iteration"
        again = f", {len(self.read_again)} values read again" if self.read_again else ""
        return (
            f"loop {printable(self.frame)}: {len(self.clones)} nodes recomputed an iteration, "
            f"{len(self.removed)} stacks removed, {len(self.kept)} kept, {len(self.added)} "
            f"added{again}{freed}"
        )
