"""Blocks inside a branch of a v1 ``cond``, and branches inside a block.

In a branch that is not taken every value is dead, and so is every copy that reads one: copies need
no more than to read values of the branch. What must not happen is that something waits for a node
of a branch itself, since it would not run where the branch is not taken. It waits for a
``ControlTrigger`` instead, which runs as soon as what it waits for is done or dead
(core/common_runtime/executor.cc).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphrev.analysis.frames import Context, is_inner_branch
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.plan import BlockPlan, HalfPlan
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection


def fit_into_branch(plan: BlockPlan, contexts: Mapping[str, Context], chain: Chain) -> BlockPlan:
    """The plan with triggers that run whenever the block does."""
    if not contexts:
        return plan
    here = contexts.get(chain.halves[-1].y.node, ())
    halves = tuple(_fitted(half, contexts, here) for half in plan.halves)
    inside = any(contexts.get(name, ()) != here for half in halves for name in half.clones)
    return replace(plan, halves=halves, branched=bool(here), conditional=bool(here) or inside)


def _fitted(half: HalfPlan, contexts: Mapping[str, Context], here: Context) -> HalfPlan:
    """A half whose triggers are told apart: those that always run, and those that may be dead."""
    places = {name: contexts.get(name, ()) for name in half.triggers}
    return replace(
        half,
        triggers=tuple(name for name, own in places.items() if own == here[: len(own)]),
        conditional_triggers=tuple(
            name for name, own in places.items() if is_inner_branch(own, here)
        ),
    )


def has_branches(contexts: Mapping[str, Context], item: Candidate) -> bool:
    """Whether a chain has branches inside."""
    here = contexts.get(item.chain.halves[-1].y.node, ())
    return any(contexts.get(name, ()) != here for name in item.forward)


def undifferentiated_branch(chain: Chain) -> Rejection:
    """Why a block with control flow that nothing differentiates yet is left alone."""
    reason = f"Block '{chain.name}' has branches inside; differentiate it first."
    return Rejection(Code.CROSSES_FRAME, reason, chain.nodes)
