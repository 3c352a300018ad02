"""Plans the blocks that lie inside while loops, and says why the others are left alone.

The edits are made on a private copy of the graph, which shows whether the result is a graph that
can run; the plan holds the edits themselves, so that applying it decides nothing. A block that
turns out to be impossible is refused and the rest is planned again without it; a nest of reversible
loops that does is planned again loop by loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import ControlFlow
from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.frames_order import circle_through_loops
from graphrev.editor import GraphEditor
from graphrev.edits import EditLog
from graphrev.errors import PassError
from graphrev.ir.index import CycleError
from graphrev.passes.reversible.loops.blocks import BlockPlanning, Limits, RefusedError
from graphrev.passes.reversible.loops.carrying import SpanPlanning
from graphrev.passes.reversible.loops.plan import LoopPlan
from graphrev.passes.reversible.loops.spans import Span, SpanKey, Task, find_spans
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.loops.body import members_of_frames
from graphrev.recomputation.loops.branches import LoopBodies
from graphrev.recomputation.loops.refusals import no_gradient_loop
from graphrev.recomputation.loops.values import UnreachableError


@dataclass(frozen=True, slots=True)
class Outcome:
    """Plans, the edits that carry all of them out, and what is left alone."""

    plans: tuple[LoopPlan, ...] = ()
    edits: EditLog = ()
    rejections: tuple[Rejection, ...] = ()


@dataclass(eq=False)
class _Facts:
    around: Surroundings
    flow: ControlFlow
    contexts: Mapping[str, Context]
    members: dict[int, tuple[str, ...]]
    limits: Limits


def plan_loops(
    around: Surroundings,
    contexts: Mapping[str, Context],
    candidates: Sequence[Candidate],
    limits: Limits,
) -> Outcome:
    """Plans every block of ``candidates``, each of which lies in one loop body.

    Args:
        contexts: the loop or branch of each node.
        candidates: chains that each lie in one loop body, or in one branch of it.
        limits: what bounds the drift.
    """
    if not candidates:
        return Outcome()
    flow = around.flow
    facts = _Facts(around, flow, contexts, members_of_frames(around), limits)
    tasks: list[Task] = []
    rejections: list[Rejection] = []
    for item in candidates:
        number = flow.frames.frame(item.chain.halves[-1].y.node)
        pairs = flow.gradients.get(number, ())
        tasks.extend(Task(item, pair) for pair in pairs)
        if not pairs:
            subject = f"Block '{item.chain.name}'"
            rejections.append(no_gradient_loop(flow, number, subject, item.chain.nodes))
    apart: set[SpanKey] = set()
    while True:
        try:
            plans, edits = _attempt(facts, _work(facts, tasks, apart))
            return Outcome(plans, edits, tuple(rejections))
        except _RefusedWorkError as refusal:
            part, rejection = refusal.part, refusal.rejection
            if isinstance(part, Span) and part.is_nest:
                apart.add(part.key)
                reason = f"Not carried through '{part.pair.forward.cond}': {rejection.reason}"
                rejections.append(replace(rejection, reason=reason))
                continue
            rejections.append(rejection)
            tasks = [task for task in tasks if task not in part.whole]


def _work(facts: _Facts, tasks: Sequence[Task], apart: AbstractSet[SpanKey]) -> list[Task | Span]:
    """Spans, and the blocks that are part of none, in the order of the blocks.

    Args:
        apart: the spans whose inner loops are carried by themselves.
    """
    in_body = [task for task in tasks if _is_in_body(facts, task)]
    pairs = [pair for found in facts.flow.gradients.values() for pair in found]
    nests = not facts.limits.are_set
    spans = find_spans(facts.around, pairs, in_body, apart, nests=nests)
    within = {task: span for span in spans for task in span.whole}
    return list(dict.fromkeys(within.get(task, task) for task in tasks))


def _is_in_body(facts: _Facts, task: Task) -> bool:
    """Whether a block lies in the loop's body itself, in no branch of it."""
    place = facts.contexts.get(task.item.chain.halves[-1].y.node, ())
    return place == facts.contexts.get(task.pair.index, ())


def _attempt(facts: _Facts, work: Sequence[Task | Span]) -> tuple[tuple[LoopPlan, ...], EditLog]:
    """All plans and their edits.

    Raises:
        _RefusedWorkError: one block, or one span, cannot be rewritten.
    """
    editor = GraphEditor(facts.around.graph)
    bodies = LoopBodies(facts.around, facts.members, facts.contexts, editor)
    plans: list[LoopPlan] = []
    for part in work:
        try:
            with editor.because(_first(part).item.chain.name, _reason(part)):
                plans += _plan(facts, part, bodies, editor)
        except (RefusedError, UnreachableError) as error:
            raise _RefusedWorkError(part, error.rejection) from error
    changed, edits = editor.finish()
    try:
        changed.index  # noqa: B018  (the order is found, or it is not)
    except CycleError as error:
        raise _blame(work, editor, error.nodes) from error
    if edits:
        frames = find_frames(changed)
        if frames.faults != facts.flow.frames.faults:
            raise PassError(
                "Pass 'reversible' would leave a loop whose edges cross frames; the input is "
                "untouched. This is a fault in graphrev: please report it with the graph."
            )
        circle = circle_through_loops(changed, frames) if any(part.is_nest for part in work) else ()
        if circle:
            raise _blame(work, editor, circle)
    return tuple(plans), edits


def _plan(
    facts: _Facts, part: Task | Span, bodies: LoopBodies, editor: GraphEditor
) -> list[LoopPlan]:
    if isinstance(part, Span):
        return SpanPlanning(facts.around, bodies, editor, facts.limits).plan(part)
    return [BlockPlanning(facts.around, part, bodies, editor, {}).plan_alone(facts.limits)]


def _first(part: Task | Span) -> Task:
    return next(part.tasks())


def _reason(part: Task | Span) -> str:
    return f"undo the loop of {part.pair.forward.cond}"


class _RefusedWorkError(Exception):
    def __init__(self, part: Task | Span, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.part = part
        self.rejection = rejection


def _blame(
    work: Sequence[Task | Span], editor: GraphEditor, nodes: tuple[str, ...]
) -> _RefusedWorkError:
    """The refusal of what closed a circle: of a nest rather than of a block by itself."""
    marks = {editor[name].attrs.get(BLOCK_ATTR) for name in nodes}
    guilty = [part for part in work if not marks.isdisjoint(_names(part))]
    part = min((guilty or work), key=lambda part: not part.is_nest)
    chain = _first(part).item.chain
    reason = f"Block '{chain.name}': '{nodes[0]}' would wait for what it is computed from."
    return _RefusedWorkError(part, Rejection(Code.TRIGGER_CYCLE, reason, (*chain.nodes, *nodes)))


def _names(part: Task | Span) -> set[bytes]:
    return {task.item.chain.name.encode() for task in part.tasks()}
