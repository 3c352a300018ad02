"""Plans the loops whose bodies are computed again, and says why others are left alone.

As for reversible loops, the edits are made on a private copy of the graph, which shows whether the
result can run; the plan holds the edits, so that applying it decides nothing. A loop that turns
out to be impossible is refused and the rest is planned again without it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.frames_stacks import Stack
from graphrev.editor import GraphEditor
from graphrev.edits import EditLog
from graphrev.errors import PassError
from graphrev.ir import AttrValue, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR
from graphrev.ir.index import CycleError
from graphrev.passes.recompute.loops.guards import hold_updates
from graphrev.passes.recompute.loops.needs import Needs, needs_of
from graphrev.passes.recompute.loops.plan import LoopPlan
from graphrev.passes.recompute.loops.selection import Task, by_place
from graphrev.passes.recompute.loops.slices import kept_values
from graphrev.passes.recompute.loops.writer import LoopWriter
from graphrev.passes.recompute.planner import Planner
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.loops.body import Body, members_of_frames
from graphrev.recomputation.loops.branches import LoopBodies
from graphrev.recomputation.loops.values import UnreachableError
from graphrev.recomputation.scopes import common_scope
from graphrev.recomputation.snapshots import overwritten


@dataclass(frozen=True, slots=True)
class Outcome:
    """Plans, the edits that carry all of them out, and what is left alone."""

    plans: tuple[LoopPlan, ...] = ()
    edits: EditLog = ()
    rejections: tuple[Rejection, ...] = ()


class _RefusedError(Exception):
    def __init__(self, task: Task, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.task = task
        self.rejection = rejection


def plan_loops(planner: Planner, tasks: Sequence[Task]) -> Outcome:
    """Plans every loop of ``tasks``."""
    if not tasks:
        return Outcome()
    left, rejections = list(by_place(planner.facts, planner.contexts, tasks)), list[Rejection]()
    members = members_of_frames(planner.facts)
    while True:
        attempt = _Attempt(planner, members)
        try:
            plans, edits = attempt.run(left)
            return Outcome(plans, edits, tuple(rejections))
        except _RefusedError as refusal:
            left = [task for task in left if task is not refusal.task]
            rejections.append(refusal.rejection)


@dataclass(eq=False)
class _Attempt:
    """One try at all loops, on a copy of the graph."""

    planner: Planner
    members: Mapping[int, tuple[str, ...]]

    def __post_init__(self) -> None:
        self.facts = self.planner.facts
        self._editor = GraphEditor(self.facts.graph)
        contexts = self.planner.contexts
        self._bodies = LoopBodies(self.facts, self.members, contexts, self._editor)

    def run(self, tasks: Sequence[Task]) -> tuple[tuple[LoopPlan, ...], EditLog]:
        """All plans and their edits.

        Raises:
            _RefusedError: one loop cannot be rewritten.
        """
        plans = tuple(self._plan(task) for task in tasks)
        changed, edits = self._editor.finish()
        try:
            changed.index  # noqa: B018  (the order is found, or it is not)
        except CycleError as error:
            raise _blame(tasks, self._editor, error.nodes) from error
        if edits and find_frames(changed).faults != self.facts.flow.frames.faults:
            raise PassError(
                "Pass 'recompute' would leave a loop whose edges cross frames; the input is "
                "untouched. This is a fault in graphrev: please report it with the graph."
            )
        return plans, edits

    def _plan(self, task: Task) -> LoopPlan:
        body = self._bodies.body(task.pair, task.place)
        needs = needs_of(body, task.labels)
        kept = kept_values(body, self.planner.shapes, needs.sources, self.planner.fed)
        freed = self._freed(body, needs, kept)
        refusal = _not_worth_it(task, needs, freed, self.facts)
        refusal = refusal or overwritten(self.planner.snapshots, needs.clones, f"'{task.name}'")
        if refusal is not None:
            raise _RefusedError(task, refusal)
        readers = self.facts.graph.readers
        scope = common_scope(r for stack in needs.replaced for r in readers.get(stack.pop, ()))
        scope = f"{scope}/{task.name}/recompute"
        attrs: Mapping[str, AttrValue] = MappingProxyType({BLOCK_ATTR: task.name.encode()})
        values = self._bodies.values(task.pair, scope, attrs, task.place)
        writer = LoopWriter(body, needs, kept, values, scope, attrs, self._editor)
        with self._editor.because(task.name, f"recompute the loop of {task.pair.forward.cond}"):
            try:
                removed = writer.write()
                held = hold_updates(body, needs, writer, scope, self._editor)
            except UnreachableError as error:
                raise _RefusedError(task, error.rejection) from error
            if held is not None:
                raise _RefusedError(task, held)
        body.gone.update(removed)
        return LoopPlan(
            name=task.name,
            scope=scope,
            frame=task.pair.forward.name.decode("utf-8", "replace"),
            regions=task.regions,
            clones=needs.clones,
            sources=tuple(needs.sources.values()),
            added=tuple(values.saved),
            read_again={needs.sources[ref]: found.slices.whole for ref, found in kept.items()},
            removed=removed,
            kept=tuple(s.name for s in task.pair.stacks if s.name not in removed),
            freed_bytes=freed,
        )

    def _freed(self, body: Body, needs: Needs, kept: Container[TensorRef]) -> int | None:
        """Bytes an iteration saves less; ``None`` where that is not known."""
        pushed = [self.facts.origin(ref) for ref in body.pushed()]
        again = (ref for ref in pushed if ref in kept)
        before = self._bytes((*(stack.value for stack in needs.replaced), *again))
        new = (ref for ref in needs.sources if ref not in pushed and ref not in kept)
        after = self._bytes(new)
        return None if before is None or after is None else before - after

    def _bytes(self, refs: Iterable[TensorRef]) -> int | None:
        sizes = [self.planner.shapes.bytes(ref) for ref in refs]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def _not_worth_it(task: Task, needs: Needs, freed: int | None, facts: Facts) -> Rejection | None:
    """The objection to a loop that nothing would be gained in."""
    frame = task.pair.forward.name.decode("utf-8", "replace")
    again = frozenset(_copied(task.pair, facts))
    if not needs.replaced or again.intersection(needs.clones):
        nodes = (task.pair.forward.cond, task.pair.backward.cond)
        if again:
            reason = f"The loop '{frame}' is recomputed already."
            return Rejection(Code.ALREADY_REWRITTEN, reason, nodes)
        reason = f"The gradient loop of '{frame}' pops no value that could be recomputed."
        return Rejection(Code.NO_BACKWARD_READERS, reason, nodes)
    if freed is not None and freed <= 0:
        reason = f"The loop '{frame}' would save {-freed} bytes an iteration more, not less."
        stacks: Iterable[Stack] = needs.replaced
        nodes = (task.pair.forward.cond, *(stack.name for stack in stacks))
        return Rejection(Code.NO_BACKWARD_READERS, reason, nodes[:4])
    return None


def _copied(pair: GradientLoop, facts: Facts) -> Iterable[str]:
    """The nodes of the forward body that an earlier run copied."""
    frames = facts.flow.frames
    return (n for n in facts.recomputed if frames.frame(n) == pair.forward.number)


def _blame(tasks: Sequence[Task], editor: GraphEditor, nodes: tuple[str, ...]) -> _RefusedError:
    marks = {editor[name].attrs.get(BLOCK_ATTR) for name in nodes}
    guilty = [task for task in tasks if task.name.encode() in marks]
    task = (guilty or list(tasks))[0]
    frame = task.pair.forward.name.decode("utf-8", "replace")
    reason = f"Loop '{frame}': '{nodes[0]}' would wait for what it is computed from."
    return _RefusedError(task, Rejection(Code.TRIGGER_CYCLE, reason, nodes[:4]))
