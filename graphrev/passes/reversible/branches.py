"""Blocks inside a branch of a v1 ``cond``, and branches inside a block.

See :mod:`graphrev.recomputation.branches`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphrev.analysis.frames import Context
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.plan import BlockPlan, HalfPlan
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.branches import told_apart


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
    always, conditional = told_apart(half.triggers, contexts, here)
    return replace(half, triggers=always, conditional_triggers=conditional)


def has_branches(contexts: Mapping[str, Context], item: Candidate) -> bool:
    """Whether a chain has branches inside."""
    here = contexts.get(item.chain.halves[-1].y.node, ())
    return any(contexts.get(name, ()) != here for name in item.forward)


def undifferentiated_branch(chain: Chain) -> Rejection:
    """Why a block with control flow that nothing differentiates yet is left alone."""
    reason = f"Block '{chain.name}' has branches inside; differentiate it first."
    return Rejection(Code.CROSSES_FRAME, reason, chain.nodes)
