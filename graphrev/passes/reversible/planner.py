"""Turns a chain with its regions and backward readers into a plan.

Streams are visited oldest first: a stream is rebuilt when a backward reader needs it, or when an
older stream's reconstruction does. Then the halves, last first, get their triggers: the copies of
one half wait for every backward reader of the half above, weight gradients included, because those
readers hold the memory that the copies are about to take again (memory-peers.md, section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from graphrev.ir import DType, TensorRef
from graphrev.passes.reversible.backward_passes import BackwardPass, sources_after
from graphrev.passes.reversible.drift import worst_drift
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.plan import BlockPlan, Guard, HalfPlan
from graphrev.passes.reversible.region import Region
from graphrev.passes.reversible.stateless import replayed_in
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.passes.reversible.uses import Candidate, Readers, Use
from graphrev.passes.reversible.zeros import zero_makers
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.branches import recomputed_inputs
from graphrev.recomputation.guards import buffer_owner, later_updates
from graphrev.recomputation.scopes import common_scope
from graphrev.recomputation.snapshots import overwritten
from graphrev.recomputation.steps import Redirect, redirects


def plan_passes(
    around: Surroundings,
    item: Candidate,
    readers: Readers,
    saved: frozenset[TensorRef],
    replayed: frozenset[str],
) -> Iterator[BlockPlan | Rejection]:
    """A plan for each backward pass through a chain that anything is gained for.

    A chain that one of its passes cannot be planned for is left alone: that pass would keep what
    the others free.
    """
    plans: list[BlockPlan] = []
    counted: set[TensorRef] = set()
    for number in range(len(readers.passes)):
        name = f"{item.chain.name}_pass{number}" if number else item.chain.name
        planner = Planner(around, item, readers, number, saved, replayed, name, frozenset(counted))
        objection = planner.objection()
        if objection is not None:
            yield objection
            return
        plan = planner.plan()
        if not all(half.is_idle for half in plan.halves):
            plans.append(plan)
            counted.update(use.tensor for use in planner.backward.uses)
    yield from plans or (_idle(item),)


def _idle(item: Candidate) -> Rejection:
    chain = item.chain
    reason = f"Block '{chain.name}': no backward pass reads a value that would be recomputed."
    return Rejection(Code.NO_BACKWARD_READERS, reason, chain.nodes)


@dataclass(frozen=True, eq=False)
class Planner:
    """Plans one chain for one backward pass.

    Attributes:
        readers: the chain's backward readers.
        number: which of the backward passes this is.
        saved: the streams to keep.
        replayed: random ops that are drawn again.
        name: the block's name.
        counted: tensors that another pass's plan counts as freed.
    """

    around: Surroundings
    item: Candidate
    readers: Readers
    number: int
    saved: frozenset[TensorRef]
    replayed: frozenset[str]
    name: str
    counted: frozenset[TensorRef]

    @property
    def backward(self) -> BackwardPass:
        """The backward pass being planned for."""
        return self.readers.passes[self.number]

    @property
    def chain(self) -> Chain:
        """The chain being planned."""
        return self.item.chain

    def objection(self) -> Rejection | None:
        """An update that would overtake the copies, and must not be made to wait for them.

        The copies of a pass read reference variables late. An update that belongs to the pass can
        wait for them; one that belongs to another pass cannot, or running that one would run this
        one.
        """
        kept, uses = self._kept_and_uses()
        clones = self._needs(uses, kept)[0]
        for guard in self._guards(clones):
            if not self._belongs(guard.mutator):
                reason = (
                    f"'{guard.mutator}' updates a variable that block '{self.name}' would read "
                    "again, and belongs to another backward pass."
                )
                return Rejection(Code.VARIABLE_CHANGES, reason, (guard.mutator, *guard.clones[:1]))
        names = [name for half in clones for name in half]
        return overwritten(self.around.snapshots, names, f"block '{self.name}'")

    def _belongs(self, mutator: str) -> bool:
        """Whether an update is computed from this backward pass, and not from another alone."""
        if self.backward.reaches(self.around.index.ids[mutator]):
            return True
        return not self._own.isdisjoint(sources_after(self.around, self.readers.after, (mutator,)))

    @cached_property
    def _own(self) -> frozenset[str]:
        """What this pass's incoming gradient is computed from, and no other pass's is."""
        all_ = [
            sources_after(self.around, self.readers.after, backward.incoming)
            for backward in self.readers.passes
        ]
        return all_.pop(self.number).difference(*all_)

    def _kept_and_uses(self) -> tuple[frozenset[TensorRef], list[Use]]:
        kept = self.saved | frozenset(self.chain.outputs)
        return kept, [use for use in self.backward.uses if use.stream not in kept]

    def plan(self) -> BlockPlan:
        """The block's plan; its halves are all idle when nothing would be gained."""
        kept, uses = self._kept_and_uses()
        clones, rebuilt = self._needs(uses, kept)
        triggers = self._triggers(uses, clones, rebuilt)
        inner, outer = _by_half(uses), _by_stream(uses)
        halves = tuple(
            HalfPlan(
                half=half,
                clones=clones[place],
                triggers=triggers[place],
                redirects=self._redirects(inner[place], clones[place]),
                recover=half.p in rebuilt,
                stream_redirects=(
                    self._redirects(outer[half.p], (half.p.node,)) if half.p in rebuilt else ()
                ),
                device=self.around.graph[half.q.node].device,
            )
            for place, half in enumerate(self.chain.halves)
        )
        dtype = self._dtype()
        return BlockPlan(
            name=self.name,
            scope=common_scope(use.reader for use in uses),
            halves=halves,
            saved=tuple(s for s in self.chain.streams if s in self.saved),
            guards=tuple(self._guards(clones)),
            replays=replayed_in(self.around, self.item, self.replayed),
            drift=worst_drift(dtype, self.chain, self.saved),
            freed_bytes=self._bytes(
                dict.fromkeys(use.tensor for use in uses if use.tensor not in self.counted)
            ),
            saved_bytes=self._bytes(s for s in self.chain.streams if s in self.saved),
        )

    def _needs(
        self, uses: Iterable[Use], kept: frozenset[TensorRef]
    ) -> tuple[list[tuple[str, ...]], frozenset[TensorRef]]:
        """Which nodes each half copies, and which streams are rebuilt."""
        inner: dict[int, set[str]] = defaultdict(set)
        wanted: set[TensorRef] = set()
        for use in uses:
            if use.stream is None:
                inner[use.half].add(use.tensor.node)
            else:
                wanted.add(use.stream)
        clones: list[tuple[str, ...]] = []
        rebuilt: set[TensorRef] = set()
        for place, half in enumerate(self.chain.halves):
            recover = half.p in wanted and half.p not in kept
            roots = set(inner[place])
            if recover:
                rebuilt.add(half.p)
                wanted.add(half.y)
                roots.add(half.h.node)
            clones.append(self._closure(self.item.regions[place], roots))
            if clones[place] or recover:
                wanted.add(half.q)
        return clones, frozenset(rebuilt)

    def _redirects(self, uses: Iterable[Use], copied: Iterable[str]) -> tuple[Redirect, ...]:
        """The backward readers by what they read, and what makes zeros shaped like a copy."""
        reads = [(use.tensor, use.reader) for use in uses]
        for name in copied:
            reads += zero_makers(self.around, name, self._sources, self._follows)
        return redirects(reads)

    @cached_property
    def _sources(self) -> frozenset[str]:
        """What the incoming gradient is computed from, behind the chain."""
        return sources_after(self.around, self.readers.after, self.backward.incoming)

    def _follows(self, name: str) -> bool:
        return self.backward.reaches(self.around.index.ids[name])

    def _closure(self, region: Region, roots: set[str]) -> tuple[str, ...]:
        """The region's nodes that ``roots`` are computed from, in topological order."""
        needed: set[str] = set()
        for name in reversed(region.nodes):
            if name in roots or name in needed:
                needed.add(name)
                needed.update(ref.node for ref in recomputed_inputs(self.around.graph[name]))
        return tuple(name for name in region.nodes if name in needed)

    def _triggers(
        self,
        uses: Iterable[Use],
        clones: list[tuple[str, ...]],
        rebuilt: frozenset[TensorRef],
    ) -> list[tuple[str, ...]]:
        waiting: dict[int, dict[str, None]] = defaultdict(dict)
        sources = {half.q for half in self.chain.halves}
        for use in uses:
            if use.stream is None or use.stream in sources:
                waiting[use.half][use.reader] = None
        triggers: list[tuple[str, ...]] = [()] * len(self.chain.halves)
        above = self.backward.incoming
        for place in range(len(self.chain.halves) - 1, -1, -1):
            if clones[place] or self.chain.halves[place].p in rebuilt:
                triggers[place] = above
            if waiting[place]:
                above = tuple(waiting[place])
        return triggers

    def _guards(self, clones: list[tuple[str, ...]]) -> Iterable[Guard]:
        last_sum = self.chain.halves[-1].y.node
        updates: dict[str, tuple[str, ...]] = {}
        for place, names in enumerate(clones):
            holders: dict[str, dict[str, None]] = defaultdict(dict)
            for name in names:
                for ref in self.around.graph[name].inputs:
                    owner = buffer_owner(self.around, ref)
                    if owner is None:
                        continue
                    if owner not in updates:
                        updates[owner] = tuple(later_updates(self.around, owner, last_sum))
                    for mutator in updates[owner]:
                        holders[mutator][name] = None
            for mutator, readers in holders.items():
                yield Guard(place, mutator, tuple(readers))

    def _dtype(self) -> DType:
        dtype = self.around.dtype(self.around.graph[self.chain.halves[-1].y.node])
        return DType.FLOAT if dtype is None else dtype

    def _bytes(self, tensors: Iterable[TensorRef]) -> int | None:
        sizes = [self.around.shapes.bytes(ref) for ref in tensors]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def _by_half(uses: Iterable[Use]) -> Mapping[int, list[Use]]:
    groups: dict[int, list[Use]] = defaultdict(list)
    for use in uses:
        if use.stream is None:
            groups[use.half].append(use)
    return groups


def _by_stream(uses: Iterable[Use]) -> Mapping[TensorRef, list[Use]]:
    groups: dict[TensorRef, list[Use]] = defaultdict(list)
    for use in uses:
        if use.stream is not None:
            groups[use.stream].append(use)
    return groups
