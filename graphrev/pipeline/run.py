"""Runs passes one after another, verifying the graph before the first and after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphrev.analysis import ops
from graphrev.editor import GraphEditor
from graphrev.edits import Cause, EditLog
from graphrev.errors import InvalidGraphError, PassError
from graphrev.ir import Graph
from graphrev.ir.verify import verify
from graphrev.pipeline.passes import Pass, Plan


@dataclass(frozen=True)
class Step:
    """One pass of a run: what it planned, what it edited, and the graphs on either side."""

    pass_: Pass[Any]
    plan: Plan
    edits: EditLog
    before: Graph
    after: Graph


@dataclass(frozen=True)
class Run:
    """The outcome of a pipeline; ``after`` is ``before`` itself when nothing was changed."""

    before: Graph
    after: Graph
    steps: tuple[Step, ...]

    @property
    def edits(self) -> EditLog:
        """All edits in order: replaying them on ``before`` gives ``after``."""
        return tuple(edit for step in self.steps for edit in step.edits)


Progress = Callable[[str], None]


def run(graph: Graph, passes: Sequence[Pass[Any]], progress: Progress | None = None) -> Run:
    """Analyzes and applies ``passes`` in order.

    Args:
        graph: the input; it is verified first and never changed.
        passes: what to run, in order; each sees the result of the one before.
        progress: called with a short phrase at the start of each stage.

    Raises:
        InvalidGraphError: the input breaks a structural invariant.
        PassError: a pass left an invalid graph behind; the pass is named.
    """
    say = progress or _silent
    say("verifying the input")
    verify(graph, ops.output_count, ops.input_count)
    current, steps = graph, list[Step]()
    for pass_ in passes:
        say(f"analyzing for {pass_.name}")
        plan = pass_.analyze(current)
        say(f"applying {pass_.name}")
        after, edits = apply_plan(pass_, plan, current)
        step = Step(pass_, plan, edits, current, after)
        if edits:
            say(f"verifying after {pass_.name}")
            _verify_after(step)
        steps.append(step)
        current = after
    return Run(graph, current, tuple(steps))


def apply_plan(pass_: Pass[Any], plan: Plan, graph: Graph) -> tuple[Graph, EditLog]:
    """Applies ``plan`` to the graph it was made for."""
    if plan.is_empty:
        return graph, ()
    editor = GraphEditor(graph, Cause(pass_.name))
    pass_.apply(plan, editor)
    return editor.finish()


def _verify_after(step: Step) -> None:
    try:
        verify(step.after, ops.output_count, ops.input_count, step.before)
    except InvalidGraphError as error:
        blamed = PassError(
            f"Pass '{step.pass_.name}' left an invalid graph behind; the input is untouched. "
            f"{error} This is a fault in graphrev: please report it with the graph."
        )
        blamed.step = step
        raise blamed from error


def _silent(_: str) -> None:
    return None
