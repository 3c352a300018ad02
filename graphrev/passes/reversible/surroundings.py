"""Everything the reversible pass asks about a graph, computed once and shared by its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.analysis.order import GraphIndex, descendant_labels, index_of
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR, CLONE_ATTR

__all__ = ["BLOCK_ATTR", "CLONE_ATTR", "METADATA_OPS", "Surroundings"]

METADATA_OPS = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""Ops that read a tensor's shape and not its value: they run early and keep nothing alive."""

_ALIAS_OP = "Identity"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A graph with the facts the pass needs.

    Attributes:
        graph: the graph under analysis.
        index: its integer index, with a topological order that keeps creation order.
    """

    graph: Graph
    index: GraphIndex

    @classmethod
    def of(cls, graph: Graph) -> Surroundings:
        """The surroundings of ``graph``."""
        return cls(graph, index_of(graph))

    @cached_property
    def shapes(self) -> Shapes:
        """Inferred shapes of the forward side; computed when first asked for.

        Many graphs hold no candidate, and no question is asked about a gradient's shape.
        """
        return infer_shapes(self.graph, skip=self.gradient_side)

    @cached_property
    def positions(self) -> list[int]:
        """Place of each node id in the topological order."""
        positions = [0] * len(self.index.names)
        for place, node_id in enumerate(self.index.order):
            positions[node_id] = place
        return positions

    def position(self, name: str) -> int:
        """Place of a node in the topological order."""
        return self.positions[self.index.ids[name]]

    def origin(self, ref: TensorRef) -> TensorRef:
        """The tensor ``ref`` stands for, through identities (but not through a variable read)."""
        node = self.graph[ref.node]
        while node.op == _ALIAS_OP:
            source = node.inputs[0]
            producer = self.graph[source.node]
            if ops.is_variable(producer.op):
                return ref
            ref, node = source, producer
        return ref

    def aliases(self, tensor: TensorRef) -> Iterator[TensorRef]:
        """``tensor`` and every identity of it, of identities too; not what the pass added."""
        pending = [tensor]
        while pending:
            ref = pending.pop()
            yield ref
            for reader in self.graph.readers_of(ref):
                node = self.graph[reader]
                if node.op == _ALIAS_OP and BLOCK_ATTR not in node.attrs:
                    pending.append(TensorRef(reader))

    @cached_property
    def gradient_side(self) -> frozenset[str]:
        """Nodes that are, or depend on, an op that only gradient code creates."""
        seeds = [i for i, n in enumerate(self.graph.nodes.values()) if ops.is_gradient_op(n.op)]
        if not seeds:
            return frozenset()
        labels = descendant_labels(self.index, [seeds], control=False)
        return frozenset(name for name, label in zip(self.index.names, labels) if label)

    @cached_property
    def flow(self) -> ControlFlow:
        """The v1 loops, their stacks and their gradient loops."""
        return control_flow(self.graph)

    @cached_property
    def gradient_loops(self) -> frozenset[str]:
        """The nodes of loops that are the gradients of other loops."""
        frames = {p.backward.number for pairs in self.flow.gradients.values() for p in pairs}
        inside = self.flow.frames.of.items() if frames else ()
        return frozenset(name for name, number in inside if number in frames)

    @cached_property
    def recomputed(self) -> frozenset[str]:
        """The nodes that an earlier run of the pass made copies of."""
        found = (node.attrs.get(CLONE_ATTR) for node in self.graph.nodes.values())
        return frozenset(origin.decode() for origin in found if isinstance(origin, bytes))

    def dtype(self, node: Node) -> DType | None:
        """The element type a sum works in (its ``T``), without reference."""
        value = node.attrs.get("T")
        return value.base if isinstance(value, DType) else None
