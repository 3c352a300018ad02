"""What a pass that recomputes asks about a graph, computed once and shared by its steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from graphrev.analysis import ops
from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.analysis.frames_loops import ROOT
from graphrev.analysis.order import GraphIndex, descendant_labels, index_of
from graphrev.ir import Graph, TensorRef
from graphrev.ir.deferred import CLONE_ATTR

FactsT = TypeVar("FactsT", bound="Facts")

ALIAS_OP = "Identity"

METADATA_OPS = frozenset({"Shape", "ShapeN", "Size", "Rank"})
"""Ops that read a tensor's shape and not its value: they run early and keep nothing alive."""

_BATCH = 256
"""Sets of nodes that are walked at once, a bit each."""


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

    def reached_by_gradients(self, parts: Sequence[Iterable[str]]) -> list[bool]:
        """For each set of nodes whether gradient ops or optimizers come after it, by data."""
        made = [
            number
            for number, (name, node) in enumerate(self.graph.nodes.items())
            if name in self.gradient_side or ops.is_optimizer_apply(node.op)
        ]
        if not made:
            return [False] * len(parts)
        hits: list[bool] = []
        for start in range(0, len(parts), _BATCH):
            batch = parts[start : start + _BATCH]
            seeds = [[self.index.ids[name] for name in part] for part in batch]
            labels = descendant_labels(self.index, seeds, control=False)
            union = 0
            for number in made:
                union |= labels[number]
            hits.extend(bool(union >> bit & 1) for bit in range(len(seeds)))
        return hits

    @cached_property
    def undifferentiated_loops(self) -> frozenset[int]:
        """The frames that nobody has differentiated, and that nothing is wrong with.

        What a loop hands out leaves the outermost loop around it before anything can come after it.
        """
        frames = self.flow.frames
        faulty = {frames.frame(name) for fault in self.flow.faults for name in fault.nodes}
        unfit = faulty | frames.broken | set(self.flow.gradients)
        whole = [number for number in frames.loops if number not in unfit]
        hits = self.reached_by_gradients([self._exits(number) for number in whole])
        return frozenset(number for number, hit in zip(whole, hits) if not hit)

    def _exits(self, number: int) -> list[str]:
        """What the outermost loop around a frame hands out."""
        loop = self.flow.frames.loops[number]
        while loop.parent != ROOT:
            loop = self.flow.frames.loops[loop.parent]
        return [name for variable in loop.variables for name in variable.exits]

    @cached_property
    def recomputed(self) -> frozenset[str]:
        """The nodes that an earlier run made copies of."""
        found = (node.attrs.get(CLONE_ATTR) for node in self.graph.nodes.values())
        return frozenset(origin.decode() for origin in found if isinstance(origin, bytes))
