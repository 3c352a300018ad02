"""Everything the reversible pass asks about a graph, computed once and shared by its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import DType, Node, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR, CLONE_ATTR
from graphrev.recomputation.facts import ALIAS_OP, METADATA_OPS, Facts
from graphrev.recomputation.snapshots import Snapshots

__all__ = ["BLOCK_ATTR", "CLONE_ATTR", "METADATA_OPS", "Surroundings"]


@dataclass(frozen=True, eq=False)
class Surroundings(Facts):
    """A graph with the facts the pass needs."""

    @cached_property
    def shapes(self) -> Shapes:
        """Inferred shapes of the forward side; computed when first asked for.

        Many graphs hold no candidate, and no question is asked about a gradient's shape.
        """
        return infer_shapes(self.graph, skip=self.gradient_side)

    @cached_property
    def snapshots(self) -> Snapshots:
        """What the forward pass overwrites before copies read it."""
        return Snapshots(self)

    def aliases(self, tensor: TensorRef) -> Iterator[TensorRef]:
        """``tensor`` and every identity of it, of identities too; not what the pass added."""
        pending = [tensor]
        while pending:
            ref = pending.pop()
            yield ref
            for reader in self.graph.readers_of(ref):
                node = self.graph[reader]
                if node.op == ALIAS_OP and BLOCK_ATTR not in node.attrs:
                    pending.append(TensorRef(reader))

    @cached_property
    def gradient_loops(self) -> frozenset[str]:
        """The nodes of loops that are the gradients of other loops."""
        frames = {p.backward.number for pairs in self.flow.gradients.values() for p in pairs}
        inside = self.flow.frames.of.items() if frames else ()
        return frozenset(name for name, number in inside if number in frames)

    def dtype(self, node: Node) -> DType | None:
        """The element type a sum works in (its ``T``), without reference."""
        value = node.attrs.get("T")
        return value.base if isinstance(value, DType) else None
