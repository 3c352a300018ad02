"""Keeps the regions that can be rewritten without making the graph wait for itself.

A region's rank is the place of its last node. A backward reader, and an update that is held back,
has the rank of its region; let ``low(n)`` be the lowest rank among those that node ``n`` is or
depends on. Copies of a region with rank r feed only nodes of rank r, so all that follows from them
has ``low <= r``. If everything that they wait for or read from outside has ``low > r``, then a way
from the copies of one region to those of another always leads to a lower rank, and none leads
back. Where that proves nothing the plans are tried on a private copy of the graph, and only regions
that lie on a cycle are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphrev.editor import GraphEditor
from graphrev.ir.deferred import BLOCK_ATTR
from graphrev.ir.index import CycleError
from graphrev.passes.recompute.apply import apply_recompute
from graphrev.passes.recompute.plan import RecomputePlan, RegionPlan
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.ranks import lowest_ranks


def without_cycles(
    facts: Facts, plans: Sequence[RegionPlan]
) -> tuple[list[RegionPlan], list[Rejection]]:
    """The plans that can be carried out together, and a rejection for each other one."""
    suspects = _unproven(facts, plans)
    kept, rejected = list(plans), list[Rejection]()
    while suspects and (found := _regions_on_a_cycle(facts, kept)) is not None:
        doubtful = [plan for plan in kept if plan.name in suspects]
        guilty = [plan for plan in doubtful if plan.name in found] or doubtful
        for plan in guilty:
            kept.remove(plan)
            rejected.append(_rejection(facts, plan, suspects[plan.name]))
    return kept, rejected


def without_joint_cycles(
    facts: Facts, plans: Sequence[RegionPlan]
) -> tuple[list[RegionPlan], list[Rejection]]:
    """The same for regions that nothing differentiates yet.

    Each is convex, so it makes no cycle by itself unless something waits by a control edge; two
    that read from one another crosswise do together.
    """
    kept, rejected = list(plans), list[Rejection]()
    while kept and (found := _regions_on_a_cycle(facts, kept)) is not None:
        guilty = [plan for plan in kept if plan.name in found] or kept
        for plan in list(guilty):
            kept.remove(plan)
            reason = f"Region '{plan.name}' would wait for what is computed from it."
            rejected.append(Rejection(Code.TRIGGER_CYCLE, reason, plan.clones[:4]))
    return kept, rejected


def _unproven(facts: Facts, plans: Sequence[RegionPlan]) -> dict[str, str]:
    """By region, a node that the ranks cannot show to be harmless."""
    ranks: dict[str, float] = {}
    for plan in plans:
        readers = (name for redirect in plan.redirects for name in redirect.readers)
        for name in (*readers, *(guard.mutator for guard in plan.guards)):
            ranks[name] = min(plan.rank, ranks.get(name, plan.rank))
    low = lowest_ranks(facts.index, ranks)
    blockers = {plan.name: _blocking_node(facts, plan, low) for plan in plans}
    return {name: blocker for name, blocker in blockers.items() if blocker is not None}


def _blocking_node(facts: Facts, plan: RegionPlan, low: Sequence[float]) -> str | None:
    """A node that a copy would wait for although it depends on what the copy feeds, if any."""
    own, graph = set(plan.clones), facts.graph
    read = (ref.node for name in plan.clones for ref in graph[name].inputs if ref.node not in own)
    controls = (source for name in plan.clones for source in graph[name].control_inputs)
    for name in (*plan.triggers, *plan.conditional_triggers, *read, *controls):
        if low[facts.index.ids[name]] <= plan.rank:
            return name
    return None


def _regions_on_a_cycle(facts: Facts, plans: Sequence[RegionPlan]) -> frozenset[str] | None:
    """The regions whose copies lie on a cycle that the plans would make; ``None`` for no cycle."""
    editor = GraphEditor(facts.graph)
    apply_recompute(RecomputePlan((), tuple(plans)), editor)
    changed, _ = editor.finish()
    try:
        changed.index  # noqa: B018  (the order is found, or it is not)
    except CycleError as error:
        marks = (editor[name].attrs.get(BLOCK_ATTR) for name in error.nodes)
        return frozenset(mark.decode() for mark in marks if isinstance(mark, bytes))
    return None


def _rejection(facts: Facts, plan: RegionPlan, blocker: str) -> Rejection:
    ends = plan.clones[:4]
    updates = tuple(dict.fromkeys(guard.mutator for guard in plan.guards))
    if updates and _regions_on_a_cycle(facts, [replace(plan, guards=())]) is None:
        reason = f"Region '{plan.name}' reads a variable that '{updates[0]}' writes too early."
        return Rejection(Code.VARIABLE_CHANGES, reason, (*updates, *ends))
    reason = f"Region '{plan.name}': '{blocker}' would wait for what it is computed from."
    return Rejection(Code.TRIGGER_CYCLE, reason, (blocker, *ends))
