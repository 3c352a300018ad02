"""What passes share that work on a graph and on the functions it calls.

A level is a graph, or a body taken for one, with its own functions left as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from graphrev.editor import GraphEditor
from graphrev.edits import Cause, EditLog
from graphrev.ir import Function, Graph
from graphrev.pipeline import Pass, Plan
from graphrev.recomputation.functions.plan import Done, FunctionPlan, FunctionsDone, Inner
from graphrev.recomputation.functions.rewriting import kept_functions
from graphrev.recomputation.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True)
class LevelPlan(Plan):
    """A plan for a level that may come behind what is done in its functions."""

    loop_edits: EditLog = ()
    """The edits that carry out all that is planned for loops."""
    snapshots: tuple[Snapshot, ...] = ()
    """The variables' values that copies need and the forward pass overwrites."""
    functions: tuple[FunctionPlan, ...] = ()
    function_edits: EditLog = ()
    """The edits that carry out all of ``functions``; they come first."""

    @abstractmethod
    def parts(self) -> tuple[dict[str, Any], ...]:
        """What is rewritten in the level itself, as plain data."""


LevelPlanT = TypeVar("LevelPlanT", bound=LevelPlan)
Analyze = Callable[[Graph], LevelPlanT]
"""Plans one level."""


def on_bodies(pass_: Pass[LevelPlanT], analyze: Analyze[LevelPlanT]) -> Inner:
    """Plans a body with ``analyze`` and rewrites it with ``pass_``."""

    def run(level: Graph) -> Done:
        plan = analyze(level)
        if plan.is_empty:
            return Done(level, (), plan.rejections)
        editor = GraphEditor(level, Cause(pass_.name))
        pass_.apply(plan, editor)
        return Done(editor.finish()[0], plan.parts(), plan.rejections)

    return run


def behind_functions(done: FunctionsDone, analyze: Analyze[LevelPlanT]) -> LevelPlanT:
    """The plan for the graph itself, behind what was done in its functions."""
    plan = analyze(done.graph)
    rejections = (*plan.rejections, *done.rejections)
    return replace(
        plan, rejections=rejections, functions=tuple(done.plans), function_edits=done.edits
    )


def beside_functions(
    graph: Graph, analyze: Analyze[LevelPlanT], wanted: Callable[[Function], bool]
) -> LevelPlanT:
    """The plan for the graph itself, and which of its functions might have been rewritten."""
    plan = analyze(graph)
    return replace(plan, rejections=(*plan.rejections, *kept_functions(graph, wanted)))
