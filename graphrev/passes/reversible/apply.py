"""Carries a reversible plan out, edit by edit. Nothing is decided here.

For each half, last first: a gate (an Identity of ``q`` that waits for the triggers), copies of the
planned nodes that read the gate where they read ``q``, the subtraction that rebuilds ``p``, and
the backward readers re-pointed. The control edges hang on the gate alone: Grappler's dependency
optimizer undoes them when they hang on every copy (memory-peers.md, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphrev.editor import GraphEditor, make_edits
from graphrev.ir import AttrValue, DType, Node, TensorRef
from graphrev.ir.marks import without_marks
from graphrev.passes.reversible.deferred import write_deferred
from graphrev.passes.reversible.halves import Half, Recovery
from graphrev.passes.reversible.plan import BlockPlan, HalfPlan, Redirect, ReversiblePlan
from graphrev.passes.reversible.stateless import add_seed, add_twin, twin_node
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, CLONE_ATTR
from graphrev.recomputation.branches import add_done, recomputed_inputs
from graphrev.recomputation.snapshots import take_snapshots

STREAM_ATTR = "_graphrev_stream"


def apply_reversible(plan: ReversiblePlan, editor: GraphEditor) -> None:
    """Makes the edits of ``plan``."""
    make_edits(editor, plan.function_edits)
    make_edits(editor, plan.loop_edits)
    seeds: dict[str, TensorRef] = {}
    for block in plan.blocks:
        if block.deferred:
            write_deferred(block, editor)
        else:
            _Writer(block, editor, seeds).write()
    take_snapshots(plan.snapshots, editor)


class _Writer:
    """Writes one block; remembers which tensor now stands for each stream.

    Args:
        seeds: the seeds of random ops that were made stateless already, for another backward pass;
            those of this block are added.
    """

    def __init__(self, block: BlockPlan, editor: GraphEditor, seeds: dict[str, TensorRef]) -> None:
        self._block = block
        self._editor = editor
        self._scope = f"{block.scope}/{block.name}/recompute"
        self._values: dict[TensorRef, TensorRef] = {}
        self._copies: dict[int, dict[str, str]] = {}
        self._twins = {replay.node: replay.twin for replay in block.replays}
        self._seeds = seeds
        self._replays = tuple(replay for replay in block.replays if replay.node not in seeds)

    def write(self) -> None:
        """Adds all copies and re-points the backward readers."""
        block, editor = self._block, self._editor
        with editor.because(block.name, "save the seed instead of the random tensor"):
            for replay in self._replays:
                self._seeds[replay.node] = add_seed(replay.node, editor)
        for place in range(len(block.halves) - 1, -1, -1):
            half = block.halves[place]
            if half.is_idle:
                continue
            with editor.because(block.name, f"recompute {half.half.h} from {half.half.q}"):
                self._undo(place, half)
        with editor.because(block.name, "update after the recomputation has read the old value"):
            for guard in block.guards:
                copies = self._copies[guard.half]
                clones = tuple(copies[name] for name in guard.clones)
                waits = (self._always(guard.mutator, clones),) if block.conditional else clones
                editor.add_controls(guard.mutator, waits)
        with editor.because(block.name, "draw from the saved seed"):
            for replay in self._replays:
                add_twin(replay, self._seeds[replay.node], editor)

    def _always(self, name: str, names: tuple[str, ...]) -> str:
        """A node that runs after ``names``, and also where their branch is not taken."""
        return add_done(f"{self._scope}/{name}", names, self._attrs({}), self._editor)

    def _undo(self, place: int, plan: HalfPlan) -> None:
        gate = self._gate(
            plan, plan.half.q.node, self._value(plan.half.q), self._dtype_of(plan.half)
        )
        copies = self._copy_nodes(plan, gate)
        self._copies[place] = copies
        for redirect in plan.redirects:
            ref = redirect.tensor
            self._point(redirect, TensorRef(copies[ref.node], ref.index))
        if plan.recover:
            rebuilt = self._recover(plan.half, gate, copies)
            self._values[plan.half.p] = rebuilt
            for redirect in plan.stream_redirects:
                self._point(redirect, rebuilt)

    def _value(self, stream: TensorRef) -> TensorRef:
        return self._values.get(stream, stream)

    def _dtype_of(self, half: Half) -> AttrValue:
        return self._editor[half.y.node].attr("T")

    def _gate(self, plan: HalfPlan, name: str, value: TensorRef, dtype: AttrValue) -> TensorRef:
        """An identity of ``value`` that waits for the triggers."""
        may_be_dead = plan.conditional_triggers
        waits = (self._always(name, may_be_dead),) if may_be_dead else ()
        node = Node(
            name=self._editor.unique_name(f"{self._scope}/{name}/gate"),
            op="Identity",
            inputs=(value,),
            control_inputs=(*plan.triggers, *waits),
            device=plan.device,
            attrs=self._attrs({"T": dtype}),
        )
        return TensorRef(self._editor.add(node))

    def _copy_nodes(self, plan: HalfPlan, gate: TensorRef) -> dict[str, str]:
        copies: dict[str, str] = {}
        for name in plan.clones:
            node = without_marks(self._editor[name])
            if name in self._seeds:
                seed = self._gate(plan, name, self._seeds[name], DType.INT32)
                node = twin_node(node, self._twins[name], seed)
            flowing = recomputed_inputs(node)
            inputs = tuple(
                self._copied(ref, plan.half.q, gate, copies) if place < len(flowing) else ref
                for place, ref in enumerate(node.inputs)
            )
            marked = {**node.attrs, **self._attrs({CLONE_ATTR: name.encode()})}
            clone = node.evolve(
                name=self._editor.unique_name(f"{self._scope}/{name}"),
                inputs=inputs,
                attrs=MappingProxyType(marked),
                extra=b"",
            )
            copies[name] = self._editor.add(clone, origin=name)
        return copies

    def _copied(
        self, ref: TensorRef, q: TensorRef, gate: TensorRef, copies: Mapping[str, str]
    ) -> TensorRef:
        if ref == q:
            return gate
        return TensorRef(copies[ref.node], ref.index) if ref.node in copies else ref

    def _recover(self, half: Half, gate: TensorRef, copies: Mapping[str, str]) -> TensorRef:
        h = self._copied(half.h, half.q, gate, copies)
        y = self._value(half.y)
        left, right = (h, y) if half.recovery is Recovery.H_MINUS_Y else (y, h)
        node = Node(
            name=self._editor.unique_name(f"{self._scope}/{half.p.node}/rebuilt"),
            op="Add" if half.recovery is Recovery.Y_PLUS_H else "Sub",
            inputs=(left, right),
            device=self._editor[half.y.node].device,
            attrs=self._attrs({"T": self._dtype_of(half), **self._stream(half)}),
        )
        return TensorRef(self._editor.add(node))

    def _stream(self, half: Half) -> Mapping[str, AttrValue]:
        """Says which stream is rebuilt, for measuring; where it is dead nobody can fetch it."""
        return {} if self._block.branched else {STREAM_ATTR: str(half.p).encode()}

    def _point(self, redirect: Redirect, value: TensorRef) -> None:
        self._editor.redirect(redirect.tensor, value, redirect.readers)

    def _attrs(self, attrs: Mapping[str, AttrValue]) -> Mapping[str, AttrValue]:
        return MappingProxyType({**attrs, BLOCK_ATTR: self._block.name.encode()})
