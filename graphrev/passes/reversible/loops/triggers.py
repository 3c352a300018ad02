"""What the copies of each half wait for inside an iteration of the gradient loop.

As outside loops, the copies of one half wait for everybody in the same frame who reads values of
the half above. A reader that also depends on a value of a lower half cannot be waited for: the
graph would wait for itself. ``low`` of a node is the lowest half whose values it depends on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from graphrev.passes.reversible.loops.uses import Kind, StackUse
from graphrev.passes.reversible.uses import Candidate
from graphrev.recomputation.loops.body import Body


class Triggers:
    """The triggers of each half of a block; the last half has none here.

    Args:
        body: the pair of loops.
        item: the block.
        uses: the stacks whose pops will be replaced.
        past: where the block is followed by an inner loop that is undone before it, what delivers
            the gradients of that loop. Nothing of the block's is needed for those.
    """

    def __init__(
        self, body: Body, item: Candidate, uses: Iterable[StackUse], past: tuple[str, ...] = ()
    ) -> None:
        self.past = past
        self._halves = len(item.chain.halves)
        uses = tuple(uses)
        low = _lowest(body, {use.stack.pop: _produced(item, use) for use in uses}, past)
        frame = body.pair.backward.number
        here = body.backward_place
        inside = frozenset(body.members.get(frame, ()))
        self._waiting: dict[int, tuple[str, ...]] = {}
        for place in range(self._halves):
            readers = (
                reader
                for use in uses
                if use.place == place
                for reader in body.around.graph.readers.get(use.stack.pop, ())
            )
            self._waiting[place] = tuple(
                name
                for name in dict.fromkeys(readers)
                if name in inside and body.contexts.get(name, ()) == here and low[name] >= place
            )

    def of(self, place: int) -> tuple[str, ...]:
        """Nodes that must have run before half ``place`` is recomputed."""
        for above in range(place + 1, self._halves):
            if self._waiting[above]:
                return self._waiting[above]
        return ()


def _produced(item: Candidate, use: StackUse) -> float:
    """The half whose undoing yields a stack's value."""
    if use.kind is Kind.INNER and use.place is not None:
        return use.place
    if use.kind is Kind.STREAM:
        halves = enumerate(item.chain.halves)
        return next((place for place, half in halves if half.p == use.stream), math.inf)
    return -1 if use.kind is Kind.DERIVED else math.inf


def _lowest(body: Body, produced: Mapping[str, float], past: tuple[str, ...]) -> dict[str, float]:
    """``low`` of every node of the gradient frame; what leads through inner loops counts as -1.

    Not what comes from ``past``.
    """
    graph, low = body.around.graph, dict[str, float]()
    for name in body.members.get(body.pair.backward.number, ()):
        node = graph[name]
        sources = (*(ref.node for ref in node.inputs), *node.control_inputs)
        lowest = min((low.get(source, math.inf) for source in sources), default=math.inf)
        if node.op in ("Exit", "RefExit"):
            lowest = math.inf if name in past else -1
        low[name] = min(lowest, produced.get(name, math.inf))
    return low
