"""Plans one block, or some of its halves, in one pair of loops, and makes the edits at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.analysis.frames_loops import Frame
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.reversible.drift import anchored_streams, estimate
from graphrev.passes.reversible.loops.guards import wait_for_exits
from graphrev.passes.reversible.loops.plan import LoopPlan
from graphrev.passes.reversible.loops.spans import Task
from graphrev.passes.reversible.loops.triggers import Triggers
from graphrev.passes.reversible.loops.uses import Kind, StackUse, stack_uses
from graphrev.passes.reversible.loops.writer import LoopWriter
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.passes.reversible.uses import Candidate
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.loops.branches import LoopBodies
from graphrev.recomputation.loops.stacking import remove_stack
from graphrev.recomputation.scopes import common_scope


class RefusedError(Exception):
    """A block cannot be rewritten; ``rejection`` says why."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.rejection = rejection


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the drift.

    Attributes:
        anchor_every: one state in so many iterations is saved.
        max_drift: the largest estimated relative drift.
    """

    anchor_every: int | None = None
    max_drift: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether anything bounds it."""
        return self.anchor_every is not None or self.max_drift is not None

    def every(self, drift: float) -> int | None:
        """How often a loop saves its state that drifts by ``drift`` an iteration."""
        if self.anchor_every is not None or self.max_drift is None:
            return self.anchor_every
        return max(1, int(self.max_drift / drift)) if drift else None


class BlockPlanning:
    """Plans one task.

    Args:
        streams: what stands for each stream of the loop's body in the gradient loop; what the block
            rebuilds is added.
    """

    def __init__(
        self,
        around: Surroundings,
        task: Task,
        bodies: LoopBodies,
        editor: GraphEditor,
        streams: dict[TensorRef, TensorRef],
    ) -> None:
        item, pair = task.item, task.pair
        self._task = task
        self._snapshots = around.snapshots
        self._editor = editor
        self._streams = streams
        place = bodies.branch_of(pair, item.chain.halves[-1].y.node)
        self.body = bodies.body(pair, place)
        self._uses = stack_uses(self.body, task)
        self._gained = [use for use in self._uses if use.kind in (Kind.INNER, Kind.STREAM)]
        name = item.chain.name
        readers = around.graph.readers
        scope = common_scope(r for use in self._gained for r in readers.get(use.stack.pop, ()))
        self.scope = f"{scope}/{name}/recompute"
        self.attrs: Mapping[str, AttrValue] = MappingProxyType({BLOCK_ATTR: name.encode()})
        self.values = bodies.values(pair, self.scope, self.attrs, place)
        dtype = around.dtype(around.graph[item.chain.halves[0].y.node])
        self.drift = estimate(dtype or DType.FLOAT, len(item.chain.halves))

    @property
    def gains(self) -> bool:
        """Whether the gradient loop reads anything that is rebuilt."""
        return bool(self._gained)

    def plan_alone(self, limits: Limits) -> LoopPlan:
        """Makes the edits for a block whose last state is saved once an iteration.

        Raises:
            RefusedError: it cannot be rewritten.
            UnreachableError: a value it needs cannot be had in the gradient loop.
        """
        item = self._task.item
        if not any(use.kind is Kind.INNER for use in self._gained):
            raise RefusedError(nothing_gained(item))
        saved = anchored_streams(item.chain, limits.every(self.drift))
        for stream in (*item.chain.outputs, *saved):
            self._streams[stream] = self.values.bring(self._as_pushed(stream))
        writer = self._undo(_lowest_needed(item, self._uses), ())
        refused = wait_for_exits(self.body, item, (), self._snapshots, self._editor)
        if refused is not None:
            raise RefusedError(refused)
        return self._finish(writer)

    def plan_carried(
        self, past: tuple[str, ...], frames: tuple[str, ...], every: int | None
    ) -> LoopPlan:
        """Makes the edits for a block whose last state is among the streams already.

        Args:
            past: where the step after this one is an inner loop, what delivers its gradients.
            frames: the loops around this one whose gradient loops carry the state too.
            every: how often the state is saved.

        Raises:
            UnreachableError: a value it needs cannot be had in the gradient loop.
        """
        return self._finish(self._undo(0, past), carried=True, every=every, frames=frames)

    def _undo(self, lowest: int, past: tuple[str, ...]) -> LoopWriter:
        writer = LoopWriter(
            self.body, self._task, self.values, self._streams, self.scope, self.attrs, self._editor
        )
        writer.undo(lowest, Triggers(self.body, self._task.item, self._uses, past))
        return writer

    def _finish(
        self,
        writer: LoopWriter,
        *,
        carried: bool = False,
        every: int | None = None,
        frames: tuple[str, ...] = (),
    ) -> LoopPlan:
        writer.derive(self._uses)
        removed = self._replace(writer)
        self.body.gone.update(removed)
        item = self._task.item
        return LoopPlan(
            name=item.chain.name,
            scope=self.scope,
            frame=frame_name(self._task.pair.forward),
            halves=len(item.chain.halves),
            inputs=item.chain.inputs,
            outputs=item.chain.outputs,
            carried=carried,
            carried_through=frames,
            anchor_every=every,
            recomputed=writer.recomputed,
            removed=removed,
            kept=tuple(use.stack.name for use in self._uses if use.stack.name not in removed),
            added=tuple(self.values.saved),
            drift=self.drift,
        )

    def _as_pushed(self, stream: TensorRef) -> TensorRef:
        """The alias of a stream that a stack holds already, else the stream itself."""
        for value in self.body.pushed():
            if self.body.around.origin(value) == stream:
                return value
        return stream

    def _replace(self, writer: LoopWriter) -> tuple[str, ...]:
        """Re-points the pops' readers and removes the stacks that nobody needs any more."""
        removed: list[str] = []
        for use in self._uses:
            if use.stack.name in self.values.kept:
                continue
            value = writer.value_of(use)
            if value is None or use.stack.name in self.values.kept:
                continue
            readers = tuple(self._editor.readers(use.stack.pop))
            self._editor.redirect(TensorRef(use.stack.pop), value, readers)
            remove_stack(self.body.pair, use.stack, self._editor)
            removed.append(use.stack.name)
        return tuple(removed)


def frame_name(frame: Frame) -> str:
    """A loop's name, to print."""
    return frame.name.decode("utf-8", "replace")


def _lowest_needed(item: Candidate, uses: Sequence[StackUse]) -> int:
    """The first half whose values, or whose p, somebody reads."""
    places = [use.place for use in uses if use.kind is Kind.INNER and use.place is not None]
    rebuilt = {half.p: place for place, half in enumerate(item.chain.halves)}
    for use in uses:
        if use.stream is not None and use.stream in rebuilt:
            places.append(rebuilt[use.stream])
    return min(places, default=len(item.chain.halves))


def nothing_gained(item: Candidate) -> Rejection:
    """The rejection of a block that nothing is recomputed for."""
    reason = (
        f"Block '{item.chain.name}': its gradient loop reads no value that would be recomputed."
    )
    return Rejection(Code.NO_BACKWARD_READERS, reason, item.chain.nodes)
