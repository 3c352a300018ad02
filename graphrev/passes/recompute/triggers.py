"""What each region's recomputation waits for.

It waits for *every* backward reader, weight gradients included, of the regions that come next in
the forward pass: those readers hold the memory that the copies are about to take again
(memory-peers.md, section 3). And it waits for the gradient that comes in.

Two regions need not be differentiated by the same loss, nor one region by one loss alone. Each
backward pass waits for the next regions' readers in the same pass: it follows from what that pass
starts from. And waiting for a reader must never make a step run what it did not run: another feed,
another batch of data, another random draw, an update. So a reader counts only if it needs nothing
of that kind beyond what all of the pass's own readers need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphrev.analysis.frames import Context
from graphrev.analysis.order import descendant_labels
from graphrev.passes.recompute.backward_passes import BackwardPass
from graphrev.passes.recompute.plan import RegionPlan
from graphrev.passes.recompute.regions import starts_anew
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.backward_passes import following_labels
from graphrev.recomputation.branches import told_apart
from graphrev.recomputation.facts import Facts


def with_triggers(
    facts: Facts,
    plans: Sequence[RegionPlan],
    passes: Sequence[BackwardPass],
    contexts: Mapping[str, Context],
) -> tuple[list[RegionPlan], list[Rejection]]:
    """The plans with their triggers, and a rejection for each that nothing can hold back.

    Args:
        passes: for each plan the backward pass that it is for.
        contexts: the loop or branch of each node that lies in one.
    """
    next_ = _next_regions(facts, plans, _continued(facts, plans, passes))
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
        wanted = dict.fromkeys((*above, *passes[place].incoming))
        wanted = [name for name in wanted if not needs[ids[name]] & ~allowed]
        always, conditional = told_apart(wanted, contexts, ())
        if always or conditional:
            kept.append(replace(plan, triggers=always, conditional_triggers=conditional))
        else:
            reason = f"Region '{plan.name}': its backward readers share nothing to wait for."
            refused.append(Rejection(Code.NO_BACKWARD_READERS, reason, plan.clones[:4]))
    return kept, refused


def _readers(plan: RegionPlan) -> list[str]:
    return [name for redirect in plan.redirects for name in redirect.readers]


def _continued(
    facts: Facts, plans: Sequence[RegionPlan], passes: Sequence[BackwardPass]
) -> list[int]:
    """For each plan the mask of plans whose backward pass its own is the continuation of.

    A pass that starts from nothing does not tell; it is continued where no region has another.
    """
    ids = facts.index.ids
    seeds = [[ids[name] for name in backward.starts] for backward in passes]
    readers = [[ids[name] for name in _readers(plan)] for plan in plans]
    labels = following_labels(facts, seeds, {x for found in readers for x in found})
    count = Counter(plan.rank for plan in plans)
    alone = [count[plan.rank] == 1 for plan in plans]
    free = sum(1 << place for place, p in enumerate(passes) if alone[place] and p.is_constant)
    found: list[int] = []
    for place, own in enumerate(readers):
        mask = free if alone[place] else 0
        for reader in own:
            mask |= labels[reader]
        found.append(mask)
    return found


def _next_regions(
    facts: Facts, plans: Sequence[RegionPlan], continued: Sequence[int]
) -> list[list[int]]:
    """For each plan those of its pass whose region depends on it with no other in between."""
    ids = facts.index.ids
    seeds = [[ids[name] for name in plan.clones] for plan in plans]
    reached = descendant_labels(facts.index, seeds, control=False)
    before = [0] * len(plans)
    for place, plan in enumerate(plans):
        for gate in plan.gates:
            before[place] |= reached[ids[gate.tensor.node]]
    later = [
        [
            x
            for x in range(len(plans))
            if before[x] >> place & continued[place] >> x & 1 and plans[x].rank > plan.rank
        ]
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
