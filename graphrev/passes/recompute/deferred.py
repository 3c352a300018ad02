"""Marked regions of a graph that is not differentiated yet: they get a gradient of their own.

An ``IdentityN`` that carries the deferred gradient (see :mod:`graphrev.ir.deferred`) goes in front
of the region's *last ops*, those whose results leave it. Behind them would be simpler, but programs
hold the tensors that leave a region (``loss = f(y)`` is built after the rewrite), and a tensor of a
live graph cannot be exchanged. A last op that is a sum or an activation function needs nothing from
inside for its own gradient; one that is a product keeps its operands, one tensor a region.

A value that leaves the region and is also computed from further inside stays as it is: gradients
that arrive there flow back the plain way, through what the forward pass kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.frames import is_outside_loops
from graphrev.analysis.functions_bodies import RESULTS_OP
from graphrev.ir import DType, Node, TensorRef
from graphrev.ir.deferred import REGION_ATTR, is_deferred
from graphrev.passes.recompute.plan import Deferral, RegionPlan, Typed
from graphrev.passes.recompute.planner import Planner
from graphrev.passes.recompute.regions import Region, scope_of
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import METADATA_OPS, Facts


def by_differentiation(
    facts: Facts, regions: Sequence[Region]
) -> tuple[list[Region], list[Region]]:
    """The regions that somebody has differentiated, and those that nobody has so far.

    A region is differentiated when an op comes after it that only gradient code or an optimizer
    makes. Gradients of linear layers consist of ordinary ops alone: without an optimizer they are
    not recognised, and the region gets a gradient that nobody asks for.
    """
    hits = facts.reached_by_gradients([region.nodes for region in regions])
    now = [region for region, hit in zip(regions, hits) if hit]
    return now, [region for region, hit in zip(regions, hits) if not hit]


@dataclass(frozen=True, eq=False)
class Deferrer:
    """Plans the gradients of such regions, one by one.

    Attributes:
        looped: the regions that lie in bodies of loops nobody has differentiated; of another region
            in a loop nothing is known.
    """

    facts: Facts
    planner: Planner
    looped: Collection[Region]

    def plan(self, region: Region) -> RegionPlan | Rejection:
        """How ``region`` gets its gradient, or the reason against it."""
        if self._is_done(region):
            reason = f"Region '{region.name}' recomputes itself already when it is differentiated."
            return Rejection(Code.ALREADY_REWRITTEN, reason, region.nodes[:4])
        framed = self._framed(region)
        if framed is not None:
            return framed
        last = tuple(self._last_ops(region))
        outputs = tuple(dict.fromkeys(self._read_inside(region, last)))
        clones = self.planner.closure(region, {ref.node for ref in outputs})
        if not clones:
            reason = f"Region '{region.name}' keeps nothing that could be computed again."
            return Rejection(Code.NO_BACKWARD_READERS, reason, region.nodes[:4])
        objection = next(self.planner.objections(region, clones, ()), None)
        objection = objection or self.planner.overwritten(region, clones)
        if objection is not None:
            return objection
        deferral = self._deferral(region, clones, outputs, last)
        if isinstance(deferral, Rejection):
            return deferral
        return RegionPlan(
            name=region.name,
            scope="",
            rank=self.facts.position(region.nodes[-1]),
            clones=clones,
            gates=(),
            triggers=(),
            redirects=(),
            guards=(),
            replays=tuple(self.planner.replays(clones)),
            freed_bytes=None,
            deferral=deferral,
        )

    def _framed(self, region: Region) -> Rejection | None:
        here = self.planner.contexts.get(region.nodes[-1], ())
        if is_outside_loops(here) or region in self.looped:
            return self.planner.across_frames(region)
        return self.planner.framed(region)

    def _is_done(self, region: Region) -> bool:
        """Whether the region, or a part of its scope before it, carries the gradient already."""
        graph = self.facts.graph
        near: dict[str, None] = {}
        for name in region.nodes:
            near.update(dict.fromkeys(graph.readers.get(name, ())))
            near.update((ref.node, None) for ref in graph[name].inputs)
        scope = scope_of(self.facts, region.nodes[0])
        carriers = (graph[name] for name in near if is_deferred(graph[name]))
        return any(self._hands_on(node, scope) for node in carriers)

    def _hands_on(self, carrier: Node, scope: str | None) -> bool:
        """Whether the region behind ``carrier`` was built in ``scope``."""
        numbers = carrier.attrs.get(REGION_ATTR)
        count = numbers[0] if isinstance(numbers, tuple) and numbers else 0
        handed = carrier.inputs[: count if isinstance(count, int) else 0]
        return any(scope_of(self.facts, ref.node) == scope for ref in handed)

    def _last_ops(self, region: Region) -> Iterator[str]:
        """The ops whose results leave the region, and that no other such op follows."""
        inside, members, followed = set(region.nodes), set(region.members), set[str]()
        leaving = {name: None for name in region.nodes if self._leaves(name, inside)}
        for name in reversed(region.members):
            if name in followed or name in leaving:
                refs = self.facts.graph[name].inputs
                followed.update(ref.node for ref in refs if ref.node in members)
        return (name for name in leaving if name not in followed)

    def _leaves(self, name: str, inside: set[str]) -> bool:
        """Whether somebody outside may differentiate by what the op returns."""
        graph = self.facts.graph
        if ops.is_stateful(graph[name].op) or ops.output_dtype(graph[name], 0) is None:
            return False
        readers = graph.readers.get(name, ())
        if not readers:
            return True
        return any(r not in inside and _may_want_gradients(graph[r]) for r in readers)

    def _read_inside(self, region: Region, last: Iterable[str]) -> Iterator[TensorRef]:
        inside = set(region.nodes)
        for name in last:
            for ref in self.facts.graph[name].inputs:
                if ref.node in inside:
                    yield ref

    def _deferral(
        self,
        region: Region,
        clones: tuple[str, ...],
        outputs: Sequence[TensorRef],
        last: tuple[str, ...],
    ) -> Deferral | Rejection:
        graph, own = self.facts.graph, set(clones)
        read = dict.fromkeys(ref for name in clones for ref in graph[name].inputs)
        outside = [ref for ref in read if ref.node not in own]
        starts = [ref for ref in outside if ref in region.entering]
        captures = [ref for ref in outside if ref not in region.entering]
        captures = [ref for ref in captures if not _is_plain_constant(graph[ref.node])]
        typed: dict[TensorRef, DType] = {}
        for ref in (*outputs, *captures, *starts):
            dtype = ops.output_dtype(graph[ref.node], ref.index)
            if dtype is None:
                reason = f"The type of '{ref}', which '{region.name}' reads, is not known."
                return Rejection(Code.UNKNOWN_OP, reason, (ref.node, *last[:1]))
            typed[ref] = dtype.base

        def with_types(refs: Iterable[TensorRef]) -> tuple[Typed, ...]:
            return tuple((ref, typed[ref]) for ref in refs)

        device = graph[outputs[0].node].device
        return Deferral(with_types(outputs), with_types(captures), with_types(starts), last, device)


def _may_want_gradients(node: Node) -> bool:
    if node.op == RESULTS_OP:
        return True
    return node.op not in METADATA_OPS and not ops.is_stateful(node.op)


def _is_plain_constant(node: Node) -> bool:
    """Whether a capture is a constant that takes no gradient; those are found, not listed."""
    dtype = node.attrs.get("dtype")
    floats = isinstance(dtype, DType) and (dtype.is_floating or dtype.is_complex)
    return ops.is_constant(node.op) and not floats
