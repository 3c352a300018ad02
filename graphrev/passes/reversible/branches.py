"""Blocks inside a branch of a v1 ``cond``.

In a branch that is not taken every value is dead, and so is every copy that reads one: copies need
no more than to read values of the branch. What must not happen is that something outside waits for
a copy itself (it would not run where the branch is not taken; it waits for a ControlTrigger, which
always runs), or that a copy waits for something in a branch of its own, which may not be taken
where the block's is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from graphrev.analysis.frames import Context
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.plan import BlockPlan
from graphrev.pipeline import Code, Rejection


def fit_into_branch(plan: BlockPlan, contexts: Mapping[str, Context], chain: Chain) -> BlockPlan:
    """The plan with triggers that run whenever the block does."""
    here = contexts.get(chain.halves[-1].y.node, ())
    if not here:
        return plan
    halves = tuple(
        replace(half, triggers=tuple(t for t in half.triggers if _always(contexts, t, here)))
        for half in plan.halves
    )
    return replace(plan, halves=halves, branched=True)


def _always(contexts: Mapping[str, Context], name: str, here: Context) -> bool:
    own = contexts.get(name, ())
    return own == here[: len(own)]


def undifferentiated_branch(chain: Chain) -> Rejection:
    """Why a block in a branch that nothing differentiates yet is left alone."""
    reason = f"Block '{chain.name}' lies in control flow that nothing differentiates yet."
    return Rejection(Code.CROSSES_FRAME, reason, chain.nodes)
