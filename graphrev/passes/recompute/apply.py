"""Carries a recompute plan out, edit by edit. Nothing is decided here.

For each region, last first: a gate (an Identity that waits for the triggers) for every activation
that enters, copies of the planned nodes that read the gates, and the backward readers re-pointed.
The control edges hang on the gates alone: Grappler's dependency optimizer undoes them when they
hang on every copy (memory-peers.md, section 3).

What is done to loops was planned as edits already.

A region that nothing differentiates yet only gets the node that carries the deferred gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphrev.editor import GraphEditor, make_edits
from graphrev.ir import AttrValue, DType, Node, TensorRef
from graphrev.ir.deferred import (
    BLOCK_ATTR,
    CLONE_ATTR,
    DEFERRED_OP,
    GRADIENT,
    GRADIENT_ATTR,
    REGION_ATTR,
)
from graphrev.ir.marks import without_marks
from graphrev.passes.recompute.plan import Deferral, Gate, RecomputePlan, RegionPlan, Typed
from graphrev.recomputation.branches import add_done, recomputed_inputs
from graphrev.recomputation.snapshots import take_snapshots
from graphrev.recomputation.stateless import add_seed, replace_by_twin, twin_node


def apply_recompute(plan: RecomputePlan, editor: GraphEditor) -> None:
    """Makes the edits of ``plan``."""
    make_edits(editor, plan.function_edits)
    make_edits(editor, plan.loop_edits)
    seeds: dict[str, TensorRef] = {}
    regions = sorted(plan.regions, key=lambda region: -region.rank)
    for region in regions:
        if region.deferral is None:
            _Writer(region, editor, seeds).write()
        else:
            _defer(region, region.deferral, editor)
    for region in regions:
        with editor.because(region.name, "draw from the saved seed"):
            for replay in region.replays:
                seed = seeds.pop(replay.node, None)
                if seed is not None:
                    replace_by_twin(replay.node, replay.twin, seed, editor)
    take_snapshots(plan.snapshots, editor)


def _defer(region: RegionPlan, deferral: Deferral, editor: GraphEditor) -> None:
    """Adds the node that carries the gradient; the region's last ops read it."""
    twins: dict[TensorRef, TensorRef] = {}
    seeds: list[Typed] = []
    with editor.because(region.name, "draw from a saved seed"):
        for replay in region.replays:
            seed = add_seed(replay.node, editor)
            twins[TensorRef(replay.node)] = replace_by_twin(replay.node, replay.twin, seed, editor)
            seeds.append((seed, DType.INT32))
    inputs = (*deferral.outputs, *deferral.captures, *seeds, *deferral.starts)
    with editor.because(region.name, "recompute the region when it is differentiated"):
        node = Node(
            name=editor.unique_name(f"{deferral.last[0]}/recompute"),
            op=DEFERRED_OP,
            inputs=tuple(twins.get(ref, ref) for ref, _ in inputs),
            device=deferral.device,
            attrs=MappingProxyType(
                {
                    "T": tuple(dtype for _, dtype in inputs),
                    GRADIENT_ATTR: GRADIENT.encode(),
                    REGION_ATTR: (len(deferral.outputs), len(deferral.starts), 1),
                    BLOCK_ATTR: region.name.encode(),
                }
            ),
        )
        carrier = editor.add(node)
        for place, (ref, _) in enumerate(deferral.outputs):
            editor.redirect(twins.get(ref, ref), TensorRef(carrier, place), deferral.last)


class _Writer:
    """Writes one region for one backward pass; remembers its gates and copies.

    Args:
        seeds: the seeds of random ops that are drawn again; those of this region are added, unless
            another pass did.
    """

    def __init__(
        self, region: RegionPlan, editor: GraphEditor, seeds: dict[str, TensorRef]
    ) -> None:
        self._region = region
        self._editor = editor
        self._scope = f"{region.scope}/{region.name}/recompute"
        self._gates: dict[TensorRef, TensorRef] = {}
        self._copies: dict[str, str] = {}
        self._twins = {replay.node: replay.twin for replay in region.replays}
        self._seeds = seeds

    def write(self) -> None:
        """Adds gates and copies and re-points the backward readers."""
        region, editor = self._region, self._editor
        with editor.because(region.name, "save the seed instead of the random tensor"):
            for replay in region.replays:
                if replay.node not in self._seeds:
                    self._seeds[replay.node] = add_seed(replay.node, editor)
        with editor.because(region.name, "recompute the region from what enters it"):
            for gate in region.gates:
                self._gates[gate.tensor] = self._gate(gate, gate.tensor)
            for name in region.clones:
                self._copies[name] = self._copy(name)
            for redirect in region.redirects:
                ref = redirect.tensor
                new = TensorRef(self._copies[ref.node], ref.index)
                editor.redirect(ref, new, redirect.readers)
        with editor.because(region.name, "update after the recomputation has read the old value"):
            done = self._all_done()
            for guard in region.guards:
                editor.add_controls(guard.mutator, done)

    def _all_done(self) -> tuple[str, ...]:
        """Nodes that run when all copies have run, or are dead."""
        results = self._region.results
        done = tuple(self._identity(r, self._copied(r.tensor), "done", ()) for r in results)
        if done and self._region.conditional:
            return (self._done(results[0].tensor.node, done),)
        return done

    def _done(self, name: str, waits: tuple[str, ...]) -> str:
        return add_done(f"{self._scope}/{name}", waits, self._attrs({}), self._editor)

    def _gate(self, gate: Gate, value: TensorRef) -> TensorRef:
        """An identity of ``value`` that waits for the triggers."""
        may_be_dead = self._region.conditional_triggers
        waits = (self._done(gate.tensor.node, may_be_dead),) if may_be_dead else ()
        return TensorRef(self._identity(gate, value, "gate", (*self._region.triggers, *waits)))

    def _identity(self, gate: Gate, value: TensorRef, role: str, waits: tuple[str, ...]) -> str:
        node = Node(
            name=self._editor.unique_name(f"{self._scope}/{gate.tensor.node}/{role}"),
            op="Identity",
            inputs=(value,),
            control_inputs=waits,
            device=gate.device,
            attrs=self._attrs({"T": gate.dtype}),
        )
        return self._editor.add(node)

    def _copy(self, name: str) -> str:
        node = without_marks(self._editor[name])
        if name in self._twins:
            seed = self._gate(Gate(TensorRef(name), DType.INT32, node.device), self._seeds[name])
            node = twin_node(node, self._twins[name], seed)
        attrs = {**node.attrs, **self._attrs({CLONE_ATTR: name.encode()})}
        flowing = recomputed_inputs(node)
        clone = node.evolve(
            name=self._editor.unique_name(f"{self._scope}/{name}"),
            inputs=(*(self._copied(ref) for ref in flowing), *node.inputs[len(flowing) :]),
            attrs=MappingProxyType(attrs),
            extra=b"",
        )
        return self._editor.add(clone, origin=name)

    def _copied(self, ref: TensorRef) -> TensorRef:
        if ref in self._gates:
            return self._gates[ref]
        return TensorRef(self._copies[ref.node], ref.index) if ref.node in self._copies else ref

    def _attrs(self, attrs: Mapping[str, AttrValue]) -> Mapping[str, AttrValue]:
        return MappingProxyType({**attrs, BLOCK_ATTR: self._region.name.encode()})
