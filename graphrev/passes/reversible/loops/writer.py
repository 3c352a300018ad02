"""Undoes one block, or some of its halves, in the gradient loop of the loop it lies in.

The argument. Let the forward loop run ``n`` iterations; iteration ``k`` of its gradient loop
belongs to forward iteration ``n - 1 - k`` (:mod:`graphrev.analysis.frames_gradients`). Where the
block is all that happens to two loop variables, ``(a, b)`` after iteration ``n - 1`` are the
Exits, and the state before an iteration is the state after the one before it. So two more
variables of the gradient loop start at the Exits, each iteration undoes the block from them, half
by half as outside loops (:mod:`graphrev.passes.reversible.apply`), and hands what it rebuilt to the
next iteration: nothing of the pair is stored, however often the loop runs. Where the block is only
a part of the body its last state comes over two stacks instead.

Without gates the gradient loop would undo as many iterations ahead as ``parallel_iterations``
lets it. So the last half waits for every variable of the gradient loop, that is for all gradients
of the iteration before, and each half for those who read the values of the half above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef
from graphrev.ir.marks import without_marks
from graphrev.passes.reversible.halves import Half, Recovery
from graphrev.passes.reversible.loops.spans import Task
from graphrev.passes.reversible.loops.triggers import Triggers
from graphrev.passes.reversible.loops.uses import Kind, StackUse, derived_nodes
from graphrev.passes.reversible.surroundings import CLONE_ATTR, METADATA_OPS
from graphrev.recomputation.loops.arrivals import arrivals
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.values import Values


class LoopWriter:
    """Writes one task, remembering what stands for each node in the gradient loop.

    Args:
        streams: what stands there for the streams; those that the task ends with have to be among
            them before it is undone, those it rebuilds are added.
    """

    def __init__(
        self,
        body: Body,
        task: Task,
        values: Values,
        streams: dict[TensorRef, TensorRef],
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        self._body = body
        self._graph = body.around.graph
        self._task = task
        self._item = task.item
        self._values = values
        self._scope = scope
        self._attrs = attrs
        self._editor = editor
        self._streams = streams
        self._copies: dict[str, str] = {}

    @property
    def pair(self) -> GradientLoop:
        """The loop and its gradient loop."""
        return self._body.pair

    @property
    def recomputed(self) -> int:
        """How many nodes were copied."""
        return len(self._copies)

    def undo(self, lowest: int, triggers: Triggers) -> None:
        """Recomputes and rebuilds all halves from the last down to ``lowest``."""
        halves = self._item.chain.halves
        ends = self._item.chain.outputs
        self._body.ends.update((stream, self._streams[stream]) for stream in ends)
        anchors = triggers.past or arrivals(self.pair, self._scope, self._attrs, self._editor)
        for place in range(len(halves) - 1, lowest - 1, -1):
            waits = triggers.of(place) or anchors
            self._undo(place, halves[place], waits)

    def value_of(self, use: StackUse) -> TensorRef | None:
        """What the readers of a stack's pop are to read; ``None`` where its stack stays."""
        ref = use.stack.value
        if use.kind is Kind.STREAM and use.stream is not None:
            return self._streams.get(use.stream)
        if use.kind is Kind.INNER or use.kind is Kind.DERIVED:
            name = self._copies.get(ref.node)
            return None if name is None else TensorRef(name, ref.index)
        return self._values.in_place_of(use.stack) if use.kind is Kind.FREE else None

    def derive(self, uses: Iterable[StackUse]) -> None:
        """Computes the derived values again whose sources are all there."""
        roots = [use.stack.value.node for use in uses if use.kind is Kind.DERIVED]
        for name in derived_nodes(self._body, self._task, roots):
            inputs = [self._derived_input(ref) for ref in self._graph[name].inputs]
            if None not in inputs:
                self._copies[name] = self._copy(name, tuple(ref for ref in inputs if ref))

    def _derived_input(self, ref: TensorRef) -> TensorRef | None:
        origin = self._body.around.origin(ref)
        if origin in self._item.chain.streams:
            return self._streams.get(origin)
        if ref.node in self._copies:
            return TensorRef(self._copies[ref.node], ref.index)
        if ref.node in self._body.free or self._body.stack_of(ref):
            return self._values.bring(ref)
        return None

    def _undo(self, place: int, half: Half, waits: tuple[str, ...]) -> None:
        graph, editor = self._graph, self._editor
        dtype = graph[half.y.node].attr("T")
        gate = Node(
            name=editor.unique_name(f"{self._scope}/{half.q.node}/gate"),
            op="Identity",
            inputs=(self._streams[half.q],),
            control_inputs=waits,
            device=graph[half.q.node].device,
            attrs=self._with({"T": dtype}),
        )
        gated = TensorRef(editor.add(gate))
        for name in self._item.regions[place].nodes:
            inputs = tuple(self._input(half, gated, ref) for ref in graph[name].inputs)
            self._copies[name] = self._copy(name, inputs)
        if half.p not in self._streams:
            self._streams[half.p] = self._rebuild(half, self._input(half, gated, half.h))

    def _input(self, half: Half, gate: TensorRef, ref: TensorRef) -> TensorRef:
        if ref == half.q:
            return gate
        if ref.node in self._copies:
            return TensorRef(self._copies[ref.node], ref.index)
        node = self._graph[ref.node]
        if node.op in METADATA_OPS and ref.node not in self._body.free:
            sources = tuple(self._same_shape(half, gate, source) for source in node.inputs)
            if None not in sources:
                known = tuple(source for source in sources if source is not None)
                self._copies[ref.node] = self._copy(ref.node, known)
                return TensorRef(self._copies[ref.node], ref.index)
        return self._values.bring(ref)

    def _same_shape(self, half: Half, gate: TensorRef, ref: TensorRef) -> TensorRef | None:
        """What is there already and has the shape of ``ref``: sums have the shape of their p."""
        origin = self._body.around.origin(ref)
        if origin == half.q:
            return gate
        if origin == half.p:
            return self._streams[half.y]
        if ref.node in self._copies:
            return TensorRef(self._copies[ref.node], ref.index)
        return self._streams.get(origin)

    def _copy(self, name: str, inputs: tuple[TensorRef, ...]) -> str:
        node = without_marks(self._graph[name])
        clone = node.evolve(
            name=self._editor.unique_name(f"{self._scope}/{name}"),
            inputs=inputs,
            control_inputs=() if inputs else (self.pair.down,),
            attrs=self._with({**node.attrs, CLONE_ATTR: name.encode()}),
            extra=b"",
        )
        return self._editor.add(clone, origin=name)

    def _rebuild(self, half: Half, h: TensorRef) -> TensorRef:
        y = self._streams[half.y]
        left, right = (h, y) if half.recovery is Recovery.H_MINUS_Y else (y, h)
        node = Node(
            name=self._editor.unique_name(f"{self._scope}/{half.p.node}/rebuilt"),
            op="Add" if half.recovery is Recovery.Y_PLUS_H else "Sub",
            inputs=(left, right),
            device=self._graph[half.y.node].device,
            attrs=self._with({"T": self._graph[half.y.node].attr("T")}),
        )
        return TensorRef(self._editor.add(node))

    def _with(self, attrs: Mapping[str, AttrValue]) -> Mapping[str, AttrValue]:
        return MappingProxyType({**attrs, **self._attrs})
