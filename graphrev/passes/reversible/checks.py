"""What makes a half impossible to rewrite exactly; each answer is a rejection, never a guess."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.frames import Context, is_inner_branch, is_outside_loops
from graphrev.ir import TensorRef
from graphrev.ir.marks import is_opted_out
from graphrev.passes.reversible.halves import Half
from graphrev.passes.reversible.region import (
    BudgetExceededError,
    Region,
    ancestors_after,
    reads_tensor,
    region_between,
)
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.pipeline import Code, Rejection


@dataclass(frozen=True, eq=False)
class Checks:
    """The facts and options a half is checked against.

    Attributes:
        contexts: the while loop or branch of each node that lies in one.
        fed: tensors that users feed by name.
        replayed: random ops that are made stateless and drawn again.
        replay_random: whether random tensors must not be kept.
        trust_unknown_shapes: whether a mark stands in for a proof that shapes are equal.
    """

    around: Surroundings
    contexts: Mapping[str, Context]
    fed: frozenset[TensorRef]
    replayed: frozenset[str]
    replay_random: bool
    trust_unknown_shapes: bool

    def region(self, half: Half) -> Region | Rejection:
        """The region of a half that passes every check, or the first reason against it."""
        for objection in (self._dtype(half), self._shape(half)):
            if objection is not None:
                return objection
        try:
            region = region_between(self.around, half.q, half.h, replayed=self.replayed)
            own = half.p != half.q and reads_tensor(self.around, half.h, half.p, half.q)
        except BudgetExceededError:
            reason = f"Too many nodes lie between '{half.q}' and '{half.h}'."
            return Rejection(Code.REGION_TOO_LARGE, reason, (half.y.node, half.q.node))
        if own or half.p == half.q:
            reason = f"What is added to '{half.p}' at '{half.y.node}' is computed from it."
            return Rejection(Code.READS_OWN_INPUT, reason, (half.y.node, half.p.node))
        return next(self._objections(half, region), region)

    def in_one_place(self, half: Half, region: Region) -> bool:
        """Whether a half lies in one loop body, or one branch of it, or outside of loops.

        Outside of loops it may have branches inside.
        """
        ends = {self.contexts.get(name, ()) for name in (half.y.node, half.p.node, half.q.node)}
        place = ends.pop()
        inside = {self.contexts.get(name, ()) for name in region.nodes} - {place}
        if ends:
            return False
        if not is_outside_loops(place):
            return not inside
        return all(is_inner_branch(context, place) for context in inside)

    def _dtype(self, half: Half) -> Rejection | None:
        dtype = self.around.dtype(self.around.graph[half.y.node])
        if dtype is not None and dtype.is_floating:
            return None
        name = "unknown" if dtype is None else dtype.name.lower()
        return Rejection(
            Code.DTYPE, f"'{half.y.node}' works in {name}, not in floats.", (half.y.node,)
        )

    def _shape(self, half: Half) -> Rejection | None:
        same = self.around.shapes.same(half.p, half.y)
        if same or (same is None and self.trust_unknown_shapes):
            return None
        nodes = (half.y.node, half.p.node)
        if same is None:
            reason = f"The shapes of '{half.p}' and '{half.y}' are not known to be equal."
            return Rejection(Code.SHAPE_UNKNOWN, reason, nodes)
        reason = f"'{half.y}' has another shape than '{half.p}', which it is the sum of."
        return Rejection(Code.SHAPE_CHANGES, reason, nodes)

    def _objections(self, half: Half, region: Region) -> Iterator[Rejection]:
        graph = self.around.graph
        ends = (half.y.node, half.p.node, half.q.node)
        for name in () if self.in_one_place(half, region) else (*region.nodes, *ends):
            if name in self.contexts:
                place = " > ".join(self.contexts[name])
                reason = f"'{name}' lies in control flow ({place})."
                yield Rejection(Code.CROSSES_FRAME, reason, (name, half.y.node))
        for name in (*region.nodes, half.y.node):
            node = graph[name]
            if is_opted_out(node):
                reason = f"'{name}' was built under no_rewrite()."
                yield Rejection(Code.OPTED_OUT, reason, (name, half.y.node))
            if ops.is_placeholder(node.op) or any(ref.node == name for ref in self.fed):
                reason = f"'{name}' may be fed by name."
                yield Rejection(Code.FED, reason, (name, half.y.node))
        for name in region.nodes:
            yield from self._must_not_run_twice(name, half)
        if self.replay_random:
            yield from self._cannot_be_replayed(half, region)

    def _cannot_be_replayed(self, half: Half, region: Region) -> Iterator[Rejection]:
        floor = self.around.position(half.q.node)
        for capture in region.captures:
            for name in ancestors_after(self.around, capture.node, floor, half.q):
                op = self.around.graph[name].op
                if ops.is_random(op) and ops.stateless_twin(op) is None:
                    reason = f"'{name}' is a '{op}', which has no stateless twin."
                    yield Rejection(Code.RANDOM_OP, reason, (name, half.y.node))

    def _must_not_run_twice(self, name: str, half: Half) -> Iterator[Rejection]:
        op = self.around.graph[name].op
        if name in self.replayed or not ops.is_stateful(op):
            return
        nodes = (name, half.y.node)
        if ops.lookup(op) is None:
            reason = f"'{name}' is a '{op}', which this version does not know."
            yield Rejection(Code.UNKNOWN_OP, reason, nodes)
        else:
            reason = f"'{name}' is a '{op}', which has state or side effects."
            yield Rejection(Code.STATEFUL_OP, reason, nodes)
