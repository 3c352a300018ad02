"""Plans the blocks that lie inside while loops, and says why the others are left alone.

The edits are made on a private copy of the graph, which shows whether the result is a graph that
can run; the plan holds the edits themselves, so that applying it decides nothing. A block that
turns out to be impossible is refused and the rest is planned again without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import ControlFlow, GradientLoop
from graphrev.analysis.frames_loops import find_frames
from graphrev.editor import GraphEditor
from graphrev.edits import EditLog
from graphrev.errors import PassError
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.ir.index import CycleError
from graphrev.passes.reversible.drift import anchored_streams, estimate
from graphrev.passes.reversible.loops.anchors import Anchors
from graphrev.passes.reversible.loops.guards import wait_for_exits
from graphrev.passes.reversible.loops.plan import LoopPlan
from graphrev.passes.reversible.loops.spans import Carry, spanning
from graphrev.passes.reversible.loops.triggers import Triggers
from graphrev.passes.reversible.loops.uses import Kind, StackUse, stack_uses
from graphrev.passes.reversible.loops.writer import LoopWriter
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.loops.body import Body, members_of_frames
from graphrev.recomputation.loops.branches import LoopBodies
from graphrev.recomputation.loops.refusals import no_gradient_loop
from graphrev.recomputation.loops.stacking import remove_stack
from graphrev.recomputation.loops.values import UnreachableError, Values
from graphrev.recomputation.scopes import common_scope


@dataclass(frozen=True, slots=True)
class Outcome:
    """Plans, the edits that carry all of them out, and what is left alone."""

    plans: tuple[LoopPlan, ...] = ()
    edits: EditLog = ()
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the drift.

    Attributes:
        anchor_every: one state in so many iterations is saved.
        max_drift: the largest estimated relative drift.
    """

    anchor_every: int | None = None
    max_drift: float | None = None

    def every(self, drift: float) -> int | None:
        """How often a loop saves its state that drifts by ``drift`` an iteration."""
        if self.anchor_every is not None or self.max_drift is None:
            return self.anchor_every
        return max(1, int(self.max_drift / drift)) if drift else None


@dataclass(frozen=True, eq=False)
class _Task:
    """A block and the pair of loops it is to be rewritten in."""

    item: Candidate
    pair: GradientLoop


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
    limits: Limits = Limits(),
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
    tasks: list[_Task] = []
    rejections: list[Rejection] = []
    for item in candidates:
        number = flow.frames.frame(item.chain.halves[-1].y.node)
        pairs = flow.gradients.get(number, ())
        tasks.extend(_Task(item, pair) for pair in pairs)
        if not pairs:
            subject = f"Block '{item.chain.name}'"
            rejections.append(no_gradient_loop(flow, number, subject, item.chain.nodes))
    while True:
        try:
            plans, edits = _attempt(facts, tasks)
            return Outcome(plans, edits, tuple(rejections))
        except _RefusedError as refusal:
            tasks = [task for task in tasks if task is not refusal.task]
            rejections.append(refusal.rejection)


class _RefusedError(Exception):
    def __init__(self, task: _Task, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.task = task
        self.rejection = rejection


def _attempt(facts: _Facts, tasks: Sequence[_Task]) -> tuple[tuple[LoopPlan, ...], EditLog]:
    """All plans and their edits.

    Raises:
        _RefusedError: one block cannot be rewritten.
    """
    editor = GraphEditor(facts.around.graph)
    bodies = LoopBodies(facts.around, facts.members, facts.contexts, editor)
    plans = [_Planning(facts, task, bodies, editor).plan() for task in tasks]
    changed, edits = editor.finish()
    try:
        changed.index  # noqa: B018  (the order is found, or it is not)
    except CycleError as error:
        raise _blame(tasks, editor, error.nodes) from error
    if edits and find_frames(changed).faults != facts.flow.frames.faults:
        raise PassError(
            "Pass 'reversible' would leave a loop whose edges cross frames; the input is "
            "untouched. This is a fault in graphrev: please report it with the graph."
        )
    return tuple(plans), edits


def _blame(tasks: Sequence[_Task], editor: GraphEditor, nodes: tuple[str, ...]) -> _RefusedError:
    marks = {editor[name].attrs.get(BLOCK_ATTR) for name in nodes}
    guilty = [task for task in tasks if task.item.chain.name.encode() in marks]
    task = (guilty or list(tasks))[0]
    item = task.item
    reason = f"Block '{item.chain.name}': '{nodes[0]}' would wait for what it is computed from."
    return _RefusedError(task, Rejection(Code.TRIGGER_CYCLE, reason, (*item.chain.nodes, *nodes)))


class _Planning:
    """Plans one block in one pair of loops."""

    def __init__(self, facts: _Facts, task: _Task, bodies: LoopBodies, editor: GraphEditor) -> None:
        self._facts = facts
        self._pair = task.pair
        self._item = task.item
        self._task = task
        self._bodies = bodies
        self._place = bodies.branch_of(task.pair, task.item.chain.halves[-1].y.node)
        self._editor = editor
        self._carries: tuple[Carry, ...] = ()
        span = spanning(facts.around, task.pair.forward, task.item)
        if span is not None and self._place is None:
            self._item, self._carries = span
        self._dtype = facts.around.dtype(facts.around.graph[self._item.chain.halves[0].y.node])
        self._drift = estimate(self._dtype or DType.FLOAT, len(self._item.chain.halves))
        self._every = facts.limits.every(self._drift)

    def plan(self) -> LoopPlan:
        """Makes the edits and says what they are."""
        body = self._bodies.body(self._pair, self._place)
        uses = stack_uses(body, self._item)
        gained = [use for use in uses if use.kind in (Kind.INNER, Kind.STREAM)]
        if not any(self._carries or use.kind is Kind.INNER for use in gained):
            raise _RefusedError(self._task, _nothing_gained(self._item))
        name = self._item.chain.name
        readers = self._facts.around.graph.readers
        scope = common_scope(r for use in gained for r in readers.get(use.stack.pop, ()))
        scope = f"{scope}/{name}/recompute"
        attrs: Mapping[str, AttrValue] = MappingProxyType({BLOCK_ATTR: name.encode()})
        values = self._bodies.values(self._pair, scope, attrs, self._place)
        with self._editor.because(name, f"undo the loop of {self._pair.forward.cond}"):
            try:
                writer = self._write(body, values, uses, scope, attrs)
            except UnreachableError as error:
                raise _RefusedError(self._task, error.rejection) from error
            removed = self._replace(body, writer, values, uses)
        body.gone.update(removed)
        return LoopPlan(
            name=name,
            scope=scope,
            frame=self._pair.forward.name.decode("utf-8", "replace"),
            halves=len(self._item.chain.halves),
            inputs=self._item.chain.inputs,
            outputs=self._item.chain.outputs,
            carried=bool(self._carries),
            anchor_every=self._every if self._carries else None,
            recomputed=writer.recomputed,
            removed=removed,
            kept=tuple(use.stack.name for use in uses if use.stack.name not in removed),
            added=tuple(values.saved),
            drift=self._drift,
        )

    def _write(
        self,
        body: Body,
        values: Values,
        uses: Sequence[StackUse],
        scope: str,
        attrs: Mapping[str, AttrValue],
    ) -> LoopWriter:
        writer = LoopWriter(body, self._item, values, scope, attrs, self._editor)
        merges = [writer.carry(carry) for carry in self._carries]
        lowest = 0
        if self._carries and self._every is not None:
            anchors = Anchors(self._pair, self._every, scope, attrs, self._editor)
            for carry in self._carries:
                writer.anchor(carry, anchors)
        if not self._carries:
            saved = anchored_streams(self._item.chain, self._every)
            for stream in (*self._item.chain.outputs, *saved):
                writer.start_from(stream, values.bring(self._as_pushed(body, stream)))
            lowest = _lowest_needed(self._item, uses)
        writer.undo(lowest, Triggers(body, self._item, uses))
        exits = [writer.hand_on(carry, merge) for carry, merge in zip(self._carries, merges)]
        refused = wait_for_exits(body, self._item, exits, self._editor)
        if refused is not None:
            raise _RefusedError(self._task, refused)
        writer.derive(uses)
        return writer

    def _as_pushed(self, body: Body, stream: TensorRef) -> TensorRef:
        """The alias of a stream that a stack holds already, else the stream itself."""
        for value in body.pushed():
            if body.around.origin(value) == stream:
                return value
        return stream

    def _replace(
        self, body: Body, writer: LoopWriter, values: Values, uses: Sequence[StackUse]
    ) -> tuple[str, ...]:
        """Re-points the pops' readers and removes the stacks that nobody needs any more."""
        removed: list[str] = []
        for use in uses:
            if use.stack.name in values.kept:
                continue
            value = writer.value_of(use)
            if value is None or use.stack.name in values.kept:
                continue
            readers = tuple(self._editor.readers(use.stack.pop))
            self._editor.redirect(TensorRef(use.stack.pop), value, readers)
            remove_stack(self._pair, use.stack, self._editor)
            removed.append(use.stack.name)
        return tuple(removed)


def _lowest_needed(item: Candidate, uses: Sequence[StackUse]) -> int:
    """The first half whose values, or whose p, somebody reads."""
    places = [use.place for use in uses if use.kind is Kind.INNER and use.place is not None]
    rebuilt = {half.p: place for place, half in enumerate(item.chain.halves)}
    for use in uses:
        if use.stream is not None and use.stream in rebuilt:
            places.append(rebuilt[use.stream])
    return min(places, default=len(item.chain.halves))


def _nothing_gained(item: Candidate) -> Rejection:
    reason = (
        f"Block '{item.chain.name}': its gradient loop reads no value that would be recomputed."
    )
    return Rejection(Code.NO_BACKWARD_READERS, reason, item.chain.nodes)
