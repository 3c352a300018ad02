"""Shows that holding recomputation back cannot make the graph wait for itself.

Every half has a rank: the place of its sum in the topological order, so a later half ranks higher.
A backward reader has the rank of the half whose values it is to read. Let ``low(n)`` be the lowest
rank among the readers that node ``n`` is or depends on.

Copies of a half with rank r feed only readers of rank r and streams read at lower ranks; all that
follows from those has ``low <= r``. If everything that the copies of a half with rank r wait for
or read from outside has ``low > r``, then a way from the copies of one half to those of another
always leads to a lower rank, and none can lead back. ``low`` is
:func:`graphrev.recomputation.ranks.lowest_ranks`.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphrev.ir import TensorRef
from graphrev.passes.reversible.halves import Half
from graphrev.passes.reversible.plan import BlockPlan
from graphrev.passes.reversible.surroundings import Surroundings


def ranks_of(around: Surroundings, plan: BlockPlan) -> Mapping[str, float]:
    """The rank of every node that will read, or wait for, something the plan adds."""
    ranks: dict[str, float] = {}

    def lower(name: str, rank: float) -> None:
        ranks[name] = min(rank, ranks.get(name, rank))

    positions = [float(around.position(h.half.y.node)) for h in plan.halves]
    owner = _stream_ranks([h.half for h in plan.halves], positions)
    for place, half in enumerate(plan.halves):
        for redirect in half.redirects:
            for reader in redirect.readers:
                lower(reader, positions[place])
        for redirect in half.stream_redirects:
            for reader in redirect.readers:
                lower(reader, owner[half.half.p])
    for guard in plan.guards:
        lower(guard.mutator, positions[guard.half])
    return ranks


def _stream_ranks(halves: list[Half], positions: list[float]) -> Mapping[TensorRef, float]:
    """A stream's readers have the rank of the first half that computes h from the stream."""
    ranks: dict[TensorRef, float] = {half.p: positions[0] for half in halves}
    for half, position in zip(reversed(halves), reversed(positions)):
        ranks[half.q] = position
    return ranks


def blocking_node(around: Surroundings, plan: BlockPlan, low: list[float]) -> str | None:
    """A node that a copy would wait for although it depends on what the copy feeds, if any."""
    ids, graph = around.index.ids, around.graph
    for half in plan.halves:
        if half.is_idle:
            continue
        rank = float(around.position(half.half.y.node))
        own = {*half.clones, half.half.q.node}
        outside = (
            ref.node for name in half.clones for ref in graph[name].inputs if ref.node not in own
        )
        controls = (source for name in half.clones for source in graph[name].control_inputs)
        triggers = (*half.triggers, *half.conditional_triggers)
        for name in (*triggers, half.half.q.node, half.half.y.node, *outside, *controls):
            if low[ids[name]] <= rank:
                return name
    return None
