"""What a pass that recomputes asks about a graph, computed once and shared by its steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from graphrev.analysis import ops
from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.analysis.order import GraphIndex, descendant_labels, index_of
from graphrev.ir import Graph, TensorRef
from graphrev.ir.deferred import CLONE_ATTR

FactsT = TypeVar("FactsT", bound="Facts")

ALIAS_OP = "Identity"

METADATA_OPS = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""Ops that read a tensor's shape and not its value: they run early and keep nothing alive."""


@dataclass(frozen=True, eq=False)
class Facts:
    """A graph with its integer index, and what follows from them."""

    graph: Graph
    index: GraphIndex

    @classmethod
    def of(cls: type[FactsT], graph: Graph) -> FactsT:
        """The facts of ``graph``, which must be verified."""
        return cls(graph, index_of(graph))

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
        while node.op == ALIAS_OP:
            source = node.inputs[0]
            producer = self.graph[source.node]
            if ops.is_variable(producer.op):
                return ref
            ref, node = source, producer
        return ref

    @cached_property
    def flow(self) -> ControlFlow:
        """The v1 loops, their stacks and their gradient loops."""
        return control_flow(self.graph)

    @cached_property
    def gradient_side(self) -> frozenset[str]:
        """Nodes that are, or depend by data on, an op that only gradient code creates."""
        seeds = [i for i, n in enumerate(self.graph.nodes.values()) if ops.is_gradient_op(n.op)]
        if not seeds:
            return frozenset()
        labels = descendant_labels(self.index, [seeds], control=False)
        return frozenset(name for name, label in zip(self.index.names, labels) if label)

    @cached_property
    def recomputed(self) -> frozenset[str]:
        """The nodes that an earlier run made copies of."""
        found = (node.attrs.get(CLONE_ATTR) for node in self.graph.nodes.values())
        return frozenset(origin.decode() for origin in found if isinstance(origin, bytes))
