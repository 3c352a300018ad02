"""Lets gradient loops carry the streams of reversible loops, from the outside in.

The argument. The gradient loop of a span starts the two streams at the Exits of the forward loop
and undoes the steps of an iteration from the last to the first. A step that is an inner loop is
undone by its own gradient loop: that starts from what the outer one has rebuilt so far, not from a
saved Exit, and hands out by Exits of its own what the inner loop started from. Where the inner loop
did not run, neither does its gradient loop, and hands out what it was given, which is right, since
nothing was changed. So nothing of the streams is saved in any loop of a nest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphrev.editor import GraphEditor
from graphrev.ir import TensorRef
from graphrev.passes.reversible.loops.anchors import Anchors
from graphrev.passes.reversible.loops.blocks import (
    BlockPlanning,
    Limits,
    RefusedError,
    frame_name,
    nothing_gained,
)
from graphrev.passes.reversible.loops.carriers import Carriers
from graphrev.passes.reversible.loops.guards import wait_for_exits
from graphrev.passes.reversible.loops.plan import LoopPlan
from graphrev.passes.reversible.loops.spans import Span, Task, start_of
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.recomputation.loops.branches import LoopBodies
from graphrev.recomputation.scopes import common_scope

Streams = dict[TensorRef, TensorRef]
"""By stream of a loop's body what stands for it in the gradient loop."""


@dataclass(eq=False)
class SpanPlanning:
    """Plans one span with those inside it, and makes the edits.

    Attributes:
        limits: what bounds the drift; nothing does where the span is a nest.
    """

    around: Surroundings
    bodies: LoopBodies
    editor: GraphEditor
    limits: Limits
    _plans: list[LoopPlan] = field(default_factory=list[LoopPlan], init=False)
    _gains: bool = field(default=False, init=False)

    def plan(self, span: Span) -> list[LoopPlan]:
        """The plans of all blocks in a span.

        Raises:
            RefusedError: it cannot be rewritten.
            UnreachableError: a value it needs cannot be had in the gradient loop.
        """
        tasks = tuple(span.tasks())
        left = self._carry(span, ())
        if not self._gains:
            raise RefusedError(nothing_gained(tasks[0].item))
        body = self.bodies.body(span.pair)
        for task in tasks:
            refused = wait_for_exits(body, task.item, left, self.around.snapshots, self.editor)
            if refused is not None:
                raise RefusedError(refused)
        return self._plans

    def _carry(self, span: Span, frames: tuple[str, ...]) -> tuple[str, ...]:
        """Undoes an iteration; returns the Exits by which the carried variables leave."""
        streams: Streams = {}
        last = span.steps[-1]
        block = self._block(last, streams) if isinstance(last, Task) else None
        carriers = self._carriers(span) if block is None else self._carriers_like(block)
        merges: list[str] = []
        for carry in span.carries:
            merge, streams[carry.after] = carriers.start(carry)
            merges.append(merge)
        every = None
        if block is not None and not (span.is_nest or frames):
            every = self.limits.every(block.drift)
            self._anchor(span, block, streams, every)
        past: tuple[str, ...] = ()
        for step in reversed(span.steps):
            if isinstance(step, Span):
                past = self._undo_loop(
                    span, step, streams, (*frames, frame_name(span.pair.forward))
                )
            else:
                block = block if step is last and block else self._block(step, streams)
                self._plans.append(block.plan_carried(past, frames, every))
                self._gains |= block.gains
                past = ()
        return tuple(
            carriers.hand_on(carry, merge, streams[carry.before])
            for carry, merge in zip(span.carries, merges)
        )

    def _block(self, task: Task, streams: Streams) -> BlockPlanning:
        return BlockPlanning(self.around, task, self.bodies, self.editor, streams)

    def _carriers_like(self, block: BlockPlanning) -> Carriers:
        return Carriers(block.body, block.values, block.scope, block.attrs, self.editor)

    def _carriers(self, span: Span) -> Carriers:
        """Those of a loop whose last step is a loop."""
        name = next(span.tasks()).item.chain.name
        scope = f"{common_scope((span.pair.down,))}/{name}/recompute"
        attrs = {BLOCK_ATTR: name.encode()}
        values = self.bodies.values(span.pair, scope, attrs)
        return Carriers(self.bodies.body(span.pair), values, scope, attrs, self.editor)

    def _undo_loop(
        self, outer: Span, inner: Span, streams: Streams, frames: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Undoes a step that is a loop; returns what delivers the gradients it leaves behind."""
        ends = self.bodies.body(outer.pair).ends
        for carry in inner.carries:
            final = TensorRef(carry.variable.exits[0])
            ends[final] = streams[final]
        for carry, left in zip(inner.carries, self._carry(inner, frames)):
            streams[start_of(self.around, carry)] = TensorRef(left)
        variables = inner.pair.backward.variables
        return tuple(name for variable in variables for name in variable.exits)

    def _anchor(
        self, span: Span, block: BlockPlanning, streams: Streams, every: int | None
    ) -> None:
        """Takes the carried streams from where they were saved in some iterations."""
        if every is None:
            return
        graph = self.around.graph
        anchors = Anchors(span.pair, every, block.scope, block.attrs, self.editor)
        for carry in span.carries:
            dtype = graph[carry.variable.merge].dtype_attr("T")
            stream = graph[carry.variable.next].inputs[0]
            streams[carry.after] = anchors.anchor(stream, streams[carry.after], dtype)
