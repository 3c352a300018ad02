"""Takes a rewritten joined graph apart again: what must cross from the forward side, and how.

Everything a forward result depends on stays in the forward body; the rest is the gradient body. A
forward tensor that the gradient body reads is supplied, in this order:

* not at all, where its shape alone is read and a variable that is carried has the same;
* as an argument, where it is the same in every iteration and enters the body from outside;
* by the loop variable that carries it, where the gradient body rebuilds that variable;
* by a copy of what computes it, where it follows from constants and the two above alone: no value
  of an iteration is needed for it. A read of a variable that nothing writes meanwhile is done once,
  before the loop;
* by the link that carried it before, or by a new one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import BodyError
from graphrev.analysis.functions_calls import FUNCTIONAL
from graphrev.analysis.functions_pairs import Link
from graphrev.analysis.identities import origin
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import Graph, Node, TensorRef
from graphrev.recomputation.facts import METADATA_OPS
from graphrev.recomputation.functions.combining import INCOMING_OP, Combined
from graphrev.recomputation.functions.variables import is_read_only

LARGEST = 32
"""Nodes that may be copied to supply one tensor."""


@dataclass(frozen=True, eq=False)
class Sides:
    """A rewritten joined graph by its two sides.

    Attributes:
        combined: the joined graph as it was.
        graph: the joined graph as it is now.
        before: the nodes that forward results depend on.
    """

    combined: Combined
    graph: Graph
    before: frozenset[str]

    @cached_property
    def values(self) -> dict[Link, TensorRef]:
        """What the links hand on now, where it is still there."""
        combined = self.combined
        *held, gone = self.graph[combined.holder].inputs
        return {link: ref for link, ref in zip(combined.links, held) if ref != gone}

    @cached_property
    def returned(self) -> dict[int, TensorRef]:
        """What the forward body returns now, without what is cut."""
        cut = {link.output for link in self.combined.cut}
        old = self.combined.wires.forward.returned
        places = [place for place in range(len(old)) if place not in cut]
        return dict(zip(places, self.graph[self.combined.turn].inputs))

    def needed(self, carried: Iterable[int]) -> tuple[str, ...]:
        """The nodes of the gradient body, in order, if it carries the loop variables named."""
        carriers = self.combined.carriers
        roots = {*self.combined.backward, self.combined.sink, *(carriers[p] for p in carried)}
        seen, pending = set(roots), [name for name in roots if name in self.graph]
        while pending:
            node = self.graph[pending.pop()]
            for name in (*(ref.node for ref in node.inputs), *node.control_inputs):
                if name not in seen and name not in self.before:
                    seen.add(name)
                    pending.append(name)
        left_out = {self.combined.sink, *carriers.values()}
        return tuple(name for name in self.graph.nodes if name in seen and name not in left_out)

    def rebuilt(self) -> dict[int, TensorRef]:
        """The loop variables that the gradient body rebuilds, and the tensors they are then."""
        found = {
            place: self.graph[name].inputs[0] for place, name in self.combined.carriers.items()
        }
        return {place: ref for place, ref in found.items() if ref.node not in self.before}


def take_apart(combined: Combined, graph: Graph) -> Sides:
    """The sides of ``graph``, which a pass made of the joined graph.

    Raises:
        BodyError: a forward result now depends on the gradient body.
    """
    seen, pending = {*combined.forward, combined.turn}, [*combined.forward, combined.turn]
    while pending:
        node = graph[pending.pop()]
        for name in (*(ref.node for ref in node.inputs), *node.control_inputs):
            if name not in seen:
                seen.add(name)
                pending.append(name)
    early = next((name for name in combined.backward if name in seen), None)
    if early is not None:
        raise BodyError(f"'{early}' of the gradient would be needed by the forward body.", early)
    return Sides(combined, graph, frozenset(seen))


@dataclass
class Demand:
    """What the gradient body needs of the forward side.

    Attributes:
        nodes: the nodes of the gradient body.
        links: links that are still needed.
        outer: forward arguments to hand in, and those the gradient body has already.
        carried: loop variables that are carried, and what each is at the end of an iteration.
        hoisted: reads of variables to do once, outside.
        copied: forward nodes to copy, in order.
        added: tensors that need new links.
        likes: tensors whose shape alone is read, and a carried variable of the same shape.
    """

    sides: Sides
    nodes: tuple[str, ...]
    carried: dict[int, TensorRef]
    links: dict[TensorRef, Link] = field(default_factory=dict[TensorRef, Link])
    outer: dict[TensorRef, int] = field(default_factory=dict[TensorRef, int])
    hoisted: dict[TensorRef, str] = field(default_factory=dict[TensorRef, str])
    copied: dict[str, None] = field(default_factory=dict[str, None])
    added: dict[TensorRef, None] = field(default_factory=dict[TensorRef, None])
    likes: dict[TensorRef, TensorRef] = field(default_factory=dict[TensorRef, TensorRef])

    @property
    def finals(self) -> dict[TensorRef, int]:
        """By the tensor that a carried variable has at the end of an iteration the variable."""
        sides = self.sides
        return {origin(sides.graph, sides.returned[place]): place for place in self.carried}


def demand_of(sides: Sides) -> Demand:
    """What the gradient body needs, with as few new links as can be."""
    rebuilt = sides.rebuilt()
    carried = dict(rebuilt)
    while True:
        demand = Demand(sides, sides.needed(carried), carried)
        _Supplier(demand).supply()
        read = _read(sides, demand.nodes)
        idle = [place for ref, place in demand.finals.items() if ref not in read]
        if not idle and len(demand.finals) == len(carried):
            return demand
        twice = set(carried) - set(demand.finals.values())
        carried = {p: ref for p, ref in carried.items() if p not in idle and p not in twice}


def _read(
    sides: Sides, nodes: Iterable[str], passed_over: Container[str] = (INCOMING_OP,)
) -> set[TensorRef]:
    """The forward tensors that the gradient body reads, without identities; for results too.

    Args:
        passed_over: ops whose inputs do not count.
    """
    readers = (*nodes, sides.combined.sink)
    return {
        origin(sides.graph, ref)
        for name in readers
        if sides.graph[name].op not in passed_over
        for ref in sides.graph[name].inputs
        if ref.node in sides.before
    }


class _Supplier:
    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._sides = demand.sides
        self._graph = demand.sides.graph
        wires = demand.sides.combined.wires
        self._wires = wires
        self._loop = wires.twins.family == "loop"
        self._places = {name: place for place, name in enumerate(wires.forward.arguments)}
        self._finals = demand.finals
        self._linked: dict[TensorRef, Link] = {}
        for link, value in demand.sides.values.items():
            self._linked.setdefault(origin(self._graph, value), link)
        self._shapes: Shapes | None = None

    def supply(self) -> None:
        """Fills the demand in."""
        position = {name: place for place, name in enumerate(self._graph.nodes)}
        read = _read(self._sides, self._demand.nodes)
        values = _read(self._sides, self._demand.nodes, {INCOMING_OP, *METADATA_OPS})
        for ref in sorted(read, key=lambda r: (position[r.node], r.index)):
            if ref not in values and self._same_shape([ref]):
                continue
            if not self._supply_freely(ref):
                self._link(ref)

    def _supply_freely(self, ref: TensorRef) -> bool:
        outer: dict[TensorRef, int] = {}
        hoisted: dict[TensorRef, str] = {}
        copied: dict[str, None] = {}
        if not self._derive(ref, outer, hoisted, copied) or len(copied) > LARGEST:
            return False
        self._demand.outer.update(outer)
        self._demand.hoisted.update(hoisted)
        self._demand.copied.update(copied)
        return True

    def _derive(
        self,
        ref: TensorRef,
        outer: dict[TensorRef, int],
        hoisted: dict[TensorRef, str],
        copied: dict[str, None],
    ) -> bool:
        """Whether a tensor follows from what costs nothing; notes what that takes."""
        ref = origin(self._graph, ref)
        place = self._places.get(ref.node)
        if ref in self._finals or ref in hoisted or ref.node in copied:
            return True
        if place is not None:
            if not self._wires.is_constant(self._wires.forward, place):
                return False
            outer[ref] = place
            return True
        node = self._graph[ref.node]
        if self._loop and node.op == "ReadVariableOp":
            return self._hoist(ref, hoisted)
        if not ops.is_constant(node.op) and not self._may_copy(node, len(copied)):
            return False
        if node.op in METADATA_OPS:
            follows = self._same_shape(node.inputs)
        else:
            follows = all(self._derive(ref, outer, hoisted, copied) for ref in node.inputs)
        if follows:
            copied[node.name] = None
        return follows

    def _may_copy(self, node: Node, count: int) -> bool:
        """Whether an op may run in the gradient body too, if all it reads is there."""
        if not self._loop or count > LARGEST or node.control_inputs or not node.inputs:
            return False
        if ops.is_stateful(node.op) or ops.is_random(node.op) or node.op in FUNCTIONAL:
            return False
        return ops.output_ranges(node) is not None

    def _hoist(self, ref: TensorRef, hoisted: dict[TensorRef, str]) -> bool:
        handle = origin(self._graph, self._graph[ref.node].inputs[0])
        place = self._places.get(handle.node)
        if place is None or not self._wires.is_constant(self._wires.forward, place):
            return False
        if not is_read_only(self._wires.forward.graph) or not is_read_only(
            self._wires.backward.graph
        ):
            return False
        hoisted[ref] = ref.node
        return True

    def _same_shape(self, refs: Iterable[TensorRef]) -> bool:
        """Whether each of ``refs`` has the shape, and the type, of a variable that is carried."""
        if self._shapes is None:
            self._shapes = infer_shapes(self._graph)
        shapes = self._shapes
        for ref in refs:
            kind = shapes.dtype(ref)
            alike = (f for f in self._finals if shapes.dtype(f) == kind is not None)
            like = next((f for f in alike if shapes.same(ref, f) is True), None)
            if like is None:
                return False
            self._demand.likes[ref] = like
        return True

    def _link(self, ref: TensorRef) -> None:
        if ref in self._linked:
            self._demand.links[ref] = self._linked[ref]
            return
        dtype = ops.output_dtype(self._graph[ref.node], ref.index)
        if dtype is None or dtype.is_ref or dtype.name == "RESOURCE":
            reason = f"'{ref}' would have to reach the gradient, and cannot: its type is {dtype}."
            raise BodyError(reason, ref.node)
        self._demand.added[ref] = None
