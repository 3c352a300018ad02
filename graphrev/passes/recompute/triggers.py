"""What each region's recomputation waits for.

It waits for *every* backward reader, weight gradients included, of the regions that come next in
the forward pass: those readers hold the memory that the copies are about to take again
(memory-peers.md, section 3). And it waits for the gradient that comes in.

Two regions need not be differentiated by the same loss. Waiting for a reader must never make a
step run what it did not run: another feed, another batch of data, another random draw, an update.
So a reader counts only if it needs nothing of that kind beyond what all of the region's own readers
need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphrev.analysis.order import descendant_labels
from graphrev.passes.recompute.plan import RegionPlan
from graphrev.passes.recompute.regions import starts_anew
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import Facts


def with_triggers(
    facts: Facts, plans: Sequence[RegionPlan], incoming: Sequence[tuple[str, ...]]
) -> tuple[list[RegionPlan], list[Rejection]]:
    """The plans with their triggers, and a rejection for each that nothing can hold back.

    Args:
        incoming: for each plan the nodes that deliver its gradient.
    """
    next_ = _next_regions(facts, plans)
    needs = _needs(facts) if plans else []
    ids = facts.index.ids
    kept: list[RegionPlan] = []
    refused: list[Rejection] = []
    for place, plan in enumerate(plans):
        own = [ids[name] for redirect in plan.redirects for name in redirect.readers]
        allowed = needs[own[0]]
        for reader in own:
            allowed &= needs[reader]
        above = [name for later in next_[place] for name in _readers(plans[later])]
        wanted = dict.fromkeys((*above, *incoming[place]))
        triggers = tuple(name for name in wanted if not needs[ids[name]] & ~allowed)
        if triggers:
            kept.append(replace(plan, triggers=triggers))
        else:
            reason = f"Region '{plan.name}': its backward readers share nothing to wait for."
            refused.append(Rejection(Code.NO_BACKWARD_READERS, reason, plan.clones[:4]))
    return kept, refused


def _readers(plan: RegionPlan) -> list[str]:
    return [name for redirect in plan.redirects for name in redirect.readers]


def _next_regions(facts: Facts, plans: Sequence[RegionPlan]) -> list[list[int]]:
    """For each region those that depend on it with no other region in between."""
    ids = facts.index.ids
    seeds = [[ids[name] for name in plan.clones] for plan in plans]
    reached = descendant_labels(facts.index, seeds, control=False)
    before = [0] * len(plans)
    for place, plan in enumerate(plans):
        for gate in plan.gates:
            before[place] |= reached[ids[gate.tensor.node]]
    later = [
        [x for x in range(len(plans)) if before[x] >> place & 1 and plans[x].rank > plan.rank]
        for place, plan in enumerate(plans)
    ]
    return [[x for x in found if not _any_between(before[x], found)] for found in later]


def _any_between(before: int, regions: Sequence[int]) -> bool:
    return any(before >> other & 1 for other in regions)


def _needs(facts: Facts) -> list[int]:
    """For each node a label of the feeds, the data, the random draws and the updates it needs."""
    graph = facts.graph
    seeds = [[i] for i, node in enumerate(graph.nodes.values()) if starts_anew(node)]
    return descendant_labels(facts.index, seeds, control=True)
