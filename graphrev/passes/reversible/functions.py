"""The pass inside functional control flow and function calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from graphrev.editor import GraphEditor
from graphrev.edits import Cause
from graphrev.ir import Function, Graph
from graphrev.ir.marks import pair_marks
from graphrev.passes.reversible.apply import apply_reversible
from graphrev.passes.reversible.loops.planning import Limits
from graphrev.passes.reversible.plan import ReversiblePlan
from graphrev.passes.reversible.sums import is_sum
from graphrev.recomputation.functions.plan import Done, FunctionsDone
from graphrev.recomputation.functions.rewriting import kept_functions, rewrite_functions

Analyze = Callable[[Graph], ReversiblePlan]
"""Plans one level: a graph, its functions left as they are."""


def in_functions(
    graph: Graph, analyze: Analyze, detect: Literal["marked", "structural"], limits: Limits
) -> FunctionsDone:
    """What the pass does in the library of ``graph``.

    Args:
        analyze: plans a body as it plans a graph.
        detect: where it looks for pairs.
        limits: what bounds the drift of loops that carry their streams.
    """

    def anchors(blocks: Sequence[dict[str, Any]]) -> int | None:
        drift = max(
            (block["estimated_drift"] for block in blocks if "saved_streams" in block), default=0.0
        )
        return limits.every(drift)

    def inner(level: Graph) -> Done:
        plan = analyze(level)
        if plan.is_empty:
            return Done(level, (), plan.rejections)
        editor = GraphEditor(level, Cause("reversible"))
        apply_reversible(plan, editor)
        parts = (*plan.blocks, *plan.loops)
        return Done(editor.finish()[0], tuple(p.to_json() for p in parts), plan.rejections)

    return rewrite_functions(graph, inner, _WANTED[detect], anchors=anchors)


def with_functions(graph: Graph, done: FunctionsDone, analyze: Analyze) -> ReversiblePlan:
    """The plan for the graph itself, behind what was done in its functions."""
    plan = analyze(done.graph)
    rejections = (*plan.rejections, *done.rejections)
    return replace(
        plan, rejections=rejections, functions=tuple(done.plans), function_edits=done.edits
    )


def without_functions(
    graph: Graph, analyze: Analyze, detect: Literal["marked", "structural"]
) -> ReversiblePlan:
    """The plan for the graph itself, and which of its functions might have been rewritten."""
    plan = analyze(graph)
    kept = kept_functions(graph, _WANTED[detect])
    return replace(plan, rejections=(*plan.rejections, *kept))


def _has_marks(function: Function) -> bool:
    return any(pair_marks(node) for node in function.nodes.values())


def _has_sums(function: Function) -> bool:
    return sum(is_sum(node) for node in function.nodes.values()) > 1


_WANTED = {"marked": _has_marks, "structural": _has_sums}
