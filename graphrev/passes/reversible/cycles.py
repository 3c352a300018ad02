"""Keeps the blocks that can be rewritten without making the graph wait for itself.

The ranks of :mod:`graphrev.passes.reversible.ordering` prove most graphs free of cycles in one
sweep. Where they prove nothing (two nets, one of which is differentiated after the other was
updated) the plans are tried on a private copy, and only blocks that lie on a cycle are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphrev.editor import GraphEditor
from graphrev.ir.index import CycleError
from graphrev.passes.reversible.apply import apply_reversible
from graphrev.passes.reversible.ordering import blocking_node, ranks_of
from graphrev.passes.reversible.plan import BlockPlan, ReversiblePlan
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.ranks import lowest_ranks


def without_cycles(
    around: Surroundings, plans: Sequence[BlockPlan]
) -> tuple[tuple[BlockPlan, ...], tuple[Rejection, ...]]:
    """The plans that can be carried out together, and a rejection for each other one."""
    suspects = _unproven(around, plans)
    if not suspects:
        return tuple(plans), ()
    kept, rejected = list(plans), list[Rejection]()
    while (cycle := _cycle(around, kept)) is not None:
        guilty = [plan for plan in kept if plan.name in suspects and plan.name in cycle.blocks]
        for plan in guilty or [plan for plan in kept if plan.name in suspects]:
            kept.remove(plan)
            rejected.append(_rejection(around, plan, suspects[plan.name]))
    return tuple(kept), tuple(rejected)


def _unproven(around: Surroundings, plans: Sequence[BlockPlan]) -> dict[str, str]:
    """By block name, a node that the ranks cannot show to be harmless."""
    ranks: dict[str, float] = {}
    for plan in plans:
        for name, rank in ranks_of(around, plan).items():
            ranks[name] = min(rank, ranks.get(name, rank))
    low = lowest_ranks(around.index, ranks) if plans else []
    blockers = {plan.name: blocking_node(around, plan, low) for plan in plans}
    return {name: blocker for name, blocker in blockers.items() if blocker is not None}


class _Cycle:
    """The blocks whose added nodes lie on a cycle."""

    def __init__(self, editor: GraphEditor, nodes: tuple[str, ...]) -> None:
        marks = (editor[name].attrs.get(BLOCK_ATTR) for name in nodes)
        self.blocks = frozenset(mark.decode() for mark in marks if isinstance(mark, bytes))


def _cycle(around: Surroundings, plans: Sequence[BlockPlan]) -> _Cycle | None:
    """A cycle that carrying out ``plans`` would make, if any."""
    editor = GraphEditor(around.graph)
    apply_reversible(ReversiblePlan((), tuple(plans)), editor)
    changed, _ = editor.finish()
    try:
        changed.index  # noqa: B018  (the order is found, or it is not)
    except CycleError as error:
        return _Cycle(editor, error.nodes)
    return None


def _rejection(around: Surroundings, plan: BlockPlan, blocker: str) -> Rejection:
    ends = tuple(ref.node for ref in (*plan.inputs, *plan.outputs))
    updates = tuple(dict.fromkeys(guard.mutator for guard in plan.guards))
    if updates and _cycle(around, [replace(plan, guards=())]) is None:
        reason = f"Block '{plan.name}' reads a variable that '{updates[0]}' writes too early."
        return Rejection(Code.VARIABLE_CHANGES, reason, (*updates, *ends))
    reason = f"Block '{plan.name}': '{blocker}' would wait for what it is computed from."
    return Rejection(Code.TRIGGER_CYCLE, reason, (blocker, *ends))
