"""Turns a region with its backward readers into plans, or into the reason against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.frames import Context, is_outside_loops
from graphrev.analysis.shapes import Shapes
from graphrev.ir import Node, TensorRef
from graphrev.ir.marks import is_opted_out
from graphrev.passes.recompute.backward_passes import Readers, Use
from graphrev.passes.recompute.plan import Gate, Guard, RegionPlan
from graphrev.passes.recompute.regions import Region
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.branches import recomputed_inputs
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.guards import buffer_owner, later_updates
from graphrev.recomputation.scopes import common_scope
from graphrev.recomputation.snapshots import Snapshots, overwritten
from graphrev.recomputation.steps import Redirect, Replay, redirects, replays


@dataclass(frozen=True, eq=False)
class Planner:
    """Plans regions one by one; triggers are added when all are planned.

    Attributes:
        contexts: the while loop or branch of each node that lies in one.
        fed: tensors that users feed by name.
        replayed: random ops that are made stateless and drawn again.
        replay_random: whether random tensors must not be kept.
    """

    facts: Facts
    shapes: Shapes
    contexts: Mapping[str, Context]
    fed: frozenset[TensorRef]
    replayed: frozenset[str]
    replay_random: bool

    @cached_property
    def snapshots(self) -> Snapshots:
        """What the forward pass overwrites before copies read it."""
        return Snapshots(self.facts)

    def overwritten(self, region: Region, clones: Iterable[str]) -> Rejection | None:
        """The objection to copies of what no snapshot can keep."""
        return overwritten(self.snapshots, clones, f"region '{region.name}'")

    def plans(self, region: Region, readers: Readers) -> Sequence[RegionPlan] | Rejection:
        """How ``region`` is computed again, once per backward pass; without the triggers.

        A region that one of its passes cannot be planned for is left alone: that pass would keep
        what the others free.
        """
        if not self.facts.recomputed.isdisjoint(region.nodes):
            reason = f"Region '{region.name}' is recomputed already."
            return Rejection(Code.ALREADY_REWRITTEN, reason, region.nodes[:4])
        uses = [use for backward in readers.passes for use in backward.uses]
        framed = self.framed(region)
        if framed is not None:
            return framed
        if not uses:
            reason = f"Region '{region.name}': no backward pass reads a value of it."
            return Rejection(Code.NO_BACKWARD_READERS, reason, region.members[:4])
        plans: list[RegionPlan] = []
        counted: set[TensorRef] = set()
        for number, backward in enumerate(readers.passes):
            outcome = self._plan(region, readers, number, counted)
            if isinstance(outcome, Rejection):
                return outcome
            plans.append(outcome)
            counted.update(use.tensor for use in backward.uses)
        return plans

    def _plan(
        self, region: Region, readers: Readers, number: int, counted: Collection[TensorRef]
    ) -> RegionPlan | Rejection:
        """The plan for one backward pass; others count the bytes of ``counted`` as freed."""
        uses = readers.passes[number].uses
        clones = self.closure(region, {use.tensor.node for use in uses})
        objection = next(self.objections(region, clones, uses), None)
        if objection is not None:
            return objection
        gates = self._gates(region, self._entering(region, clones))
        if isinstance(gates, Rejection):
            return gates
        guards = tuple(self._guards(region, clones))
        results = self._gates(region, (use.tensor for use in uses if guards))
        if isinstance(results, Rejection):
            return results
        foreign = self._foreign(region, readers, number, guards)
        foreign = foreign or self.overwritten(region, clones)
        if foreign is not None:
            return foreign
        return RegionPlan(
            name=f"{region.name}_pass{number}" if number else region.name,
            scope=common_scope(use.reader for use in uses),
            rank=self.facts.position(region.nodes[-1]),
            clones=clones,
            gates=gates,
            results=results,
            conditional=any(name in self.contexts for name in clones),
            triggers=(),
            redirects=_redirects(uses),
            guards=guards,
            replays=tuple(self.replays(clones)),
            freed_bytes=self._bytes(
                dict.fromkeys(use.tensor for use in uses if use.tensor not in counted)
            ),
        )

    def _foreign(
        self, region: Region, readers: Readers, number: int, guards: Iterable[Guard]
    ) -> Rejection | None:
        """The objection to an update that would have to wait for a pass it has no part in.

        The copies of a pass read reference variables late. An update that belongs to the pass can
        wait for them; one that belongs to another pass cannot, or running that one would run this
        one.
        """
        for guard in guards:
            if not readers.belongs(self.facts, number, guard.mutator):
                reason = (
                    f"'{guard.mutator}' updates a variable that region '{region.name}' would read "
                    "again, and belongs to another backward pass."
                )
                return Rejection(Code.VARIABLE_CHANGES, reason, (guard.mutator, *guard.clones[:1]))
        return None

    def framed(self, region: Region) -> Rejection | None:
        """The objection to a region that lies in a loop."""
        for name in region.nodes:
            if not is_outside_loops(self.contexts.get(name, ())):
                place = " > ".join(self.contexts[name])
                reason = f"'{name}' of region '{region.name}' lies in control flow ({place})."
                return Rejection(Code.CROSSES_FRAME, reason, (name,))
        return None

    def across_frames(self, region: Region) -> Rejection | None:
        """The objection to a region that does not lie in one loop body or branch as a whole."""
        if region.around_loop:
            reason = f"A loop lies inside region '{region.name}'; differentiate it first."
            return Rejection(Code.CROSSES_FRAME, reason, region.nodes[-1:])
        places = {name: self.contexts.get(name, ()) for name in region.nodes}
        here = places[region.nodes[-1]]
        for name, place in places.items():
            if place != here:
                inside = " > ".join(place) or "no control flow"
                reason = f"'{name}' lies in {inside}, and other nodes of '{region.name}' do not."
                return Rejection(Code.CROSSES_FRAME, reason, (name, region.nodes[-1]))
        return None

    def closure(self, region: Region, roots: set[str]) -> tuple[str, ...]:
        """The region's nodes that ``roots`` are computed from, in topological order."""
        needed: set[str] = set()
        for name in reversed(region.nodes):
            if name in roots or name in needed:
                needed.add(name)
                refs = recomputed_inputs(self.facts.graph[name])
                needed.update(ref.node for ref in refs if ref not in region.entering)
        return tuple(name for name in region.nodes if name in needed)

    def _entering(self, region: Region, clones: Iterable[str]) -> Iterator[TensorRef]:
        for name in clones:
            refs = recomputed_inputs(self.facts.graph[name])
            yield from (ref for ref in refs if ref in region.entering)

    def _gates(self, region: Region, refs: Iterable[TensorRef]) -> tuple[Gate, ...] | Rejection:
        gates: list[Gate] = []
        for ref in dict.fromkeys(refs):
            source = self.facts.graph[ref.node]
            dtype = ops.output_dtype(source, ref.index)
            if dtype is None:
                reason = f"The type of '{ref}', which '{region.name}' needs, is not known."
                return Rejection(Code.UNKNOWN_OP, reason, (ref.node, *region.nodes[:1]))
            gates.append(Gate(ref, dtype.base, source.device))
        return tuple(gates)

    def replays(self, clones: Iterable[str]) -> Iterator[Replay]:
        """The random ops among ``clones`` that are drawn again."""
        return replays(self.facts.graph, (name for name in clones if name in self.replayed))

    def _guards(self, region: Region, clones: Iterable[str]) -> Iterator[Guard]:
        holders: dict[str, dict[str, None]] = defaultdict(dict)
        updates: dict[str, tuple[str, ...]] = {}
        last = region.nodes[-1]
        for name in clones:
            for ref in self.facts.graph[name].inputs:
                owner = buffer_owner(self.facts, ref)
                if owner is None:
                    continue
                if owner not in updates:
                    updates[owner] = tuple(later_updates(self.facts, owner, last))
                for mutator in updates[owner]:
                    holders[mutator][name] = None
        for mutator, readers in holders.items():
            yield Guard(mutator, tuple(readers))

    def _bytes(self, tensors: Iterable[TensorRef]) -> int | None:
        sizes = [self.shapes.bytes(ref) for ref in tensors]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def objections(
        self, region: Region, clones: Iterable[str], uses: Iterable[Use]
    ) -> Iterator[Rejection]:
        """What speaks against copying ``clones`` while ``uses`` read the originals."""
        about = f"of region '{region.name}'"
        for name in clones:
            node = self.facts.graph[name]
            if is_opted_out(node):
                reason = f"'{name}' {about} was built under no_rewrite()."
                yield Rejection(Code.OPTED_OUT, reason, (name,))
            if ops.is_placeholder(node.op) or any(ref.node == name for ref in self.fed):
                yield Rejection(Code.FED, f"'{name}' {about} may be fed by name.", (name,))
            yield from self._must_not_run_twice(node, about)
        if self.replay_random:
            yield from self._cannot_be_replayed(region, about)

    def _must_not_run_twice(self, node: Node, about: str) -> Iterator[Rejection]:
        if node.name in self.replayed or not ops.is_stateful(node.op):
            return
        if ops.lookup(node.op) is None:
            reason = f"'{node.name}' {about} is a '{node.op}', which this version does not know."
            yield Rejection(Code.UNKNOWN_OP, reason, (node.name,))
        else:
            reason = f"'{node.name}' {about} is a '{node.op}', which has state or side effects."
            yield Rejection(Code.STATEFUL_OP, reason, (node.name,))

    def _cannot_be_replayed(self, region: Region, about: str) -> Iterator[Rejection]:
        for name in region.members:
            op = self.facts.graph[name].op
            if ops.is_random(op) and ops.stateless_twin(op) is None:
                reason = f"'{name}' {about} is a '{op}', which has no stateless twin."
                yield Rejection(Code.RANDOM_OP, reason, (name,))


def _redirects(uses: Iterable[Use]) -> tuple[Redirect, ...]:
    return redirects((use.tensor, use.reader) for use in uses)
