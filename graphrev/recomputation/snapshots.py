"""Gives copies the value of a reference variable that the forward pass itself overwrites.

A moving average is updated by the forward pass and not by the optimizer, and often before the
gradients: that is what ``control_dependencies(UPDATE_OPS)`` is for. Such an update cannot be made
to wait for copies (:mod:`graphrev.recomputation.guards`), since they come after it. Therefore the
value is copied while it is the one that the forward pass reads: one op behind the variable's read,
which the readers that are not ordered after an update read from then on, copies included. The
updates wait for it.

What may be written in a step: whatever the backward pass or an optimizer waits for, and whatever
depends on activations (updates that are fetched beside the training op). Initializers, restored
values and assignments of other programs do neither. A read of a resource variable is a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.buffers import shared_input
from graphrev.analysis.frames import Context, control_contexts, is_outside_loops
from graphrev.analysis.order import ancestor_labels, descendant_labels
from graphrev.editor import GraphEditor
from graphrev.edits import AddNode, EditLog
from graphrev.ir import DType, Node, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.guards import buffer_owner, early_updates, is_reference


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One value to copy.

    Attributes:
        tensor: what shares the variable's buffer.
        dtype: its type.
        device: where the variable is.
        readers: the nodes of the forward pass that read the copy from then on.
        updates: the ops that write the variable, which wait for the copy.
    """

    tensor: TensorRef
    dtype: DType
    device: str
    readers: tuple[str, ...]
    updates: tuple[str, ...]


class Snapshots:
    """Finds the values to copy in one graph."""

    def __init__(self, around: Facts) -> None:
        self._around = around

    @cached_property
    def _contexts(self) -> Mapping[str, Context]:
        return control_contexts(self._around.graph)

    @cached_property
    def _in_step(self) -> frozenset[str]:
        """Nodes that run in a step: it waits for them, or they depend on its activations."""
        around, index = self._around, self._around.index
        made = around.gradient_side
        ends = {n for n, node in around.graph.nodes.items() if ops.is_optimizer_apply(node.op)}
        starts = {n for n, node in around.graph.nodes.items() if _is_fed(node)}
        starts.update(ref.node for ref in self._activations())
        above = ancestor_labels(index, [[index.ids[n] for n in made | ends]], control=True)
        below = descendant_labels(index, [[index.ids[n] for n in starts]], control=True)
        return frozenset(n for n, up, down in zip(index.names, above, below) if up or down)

    def _activations(self) -> Iterator[TensorRef]:
        """What the backward pass reads of the forward pass, weights and constants aside."""
        around = self._around
        for name in around.gradient_side:
            for ref in around.graph[name].inputs:
                if ref.node in around.gradient_side or around.graph[ref.node].op == "Const":
                    continue
                if buffer_owner(around, ref) is None:
                    yield ref

    def of(self, names: Iterable[str]) -> tuple[Snapshot, ...]:
        """What must be kept where copies of the nodes ``names`` are made."""
        found: dict[TensorRef, str] = {}
        for name in sorted(set(names), key=self._around.index.ids.__getitem__):
            for ref in self._around.graph[name].inputs:
                owner = buffer_owner(self._around, ref)
                if owner is not None and self._late(owner, name):
                    found[self._base(ref)] = owner
        return tuple(self._snapshot(base, owner) for base, owner in found.items())

    def objection(self, names: Iterable[str]) -> tuple[str, str] | None:
        """An update that no copy can come before, and which of ``names`` reads what it writes."""
        for name in names:
            for ref in self._around.graph[name].inputs:
                owner = buffer_owner(self._around, ref)
                if owner is None:
                    continue
                base = self._base(ref)
                for update in self._late(owner, name):
                    if base.node == owner or not self._can_wait(update, base):
                        return update, name
                if self._late(owner, name) != self._late(owner, base.node):
                    return self._late(owner, base.node)[0], name
        return None

    def _can_wait(self, update: str, base: TensorRef) -> bool:
        """Whether neither the update nor the read lies in a loop, or the read in a branch."""
        contexts = self._contexts
        return is_outside_loops(contexts.get(update, ())) and not contexts.get(base.node)

    def _late(self, owner: str, reader: str) -> tuple[str, ...]:
        """The early updates of a variable that are not over when ``reader`` reads it."""
        updates = self._updates.get(owner, ())
        return tuple(u for u in updates if not self._is_behind(reader, (u,)))

    @cached_property
    def _updates(self) -> Mapping[str, tuple[str, ...]]:
        """The early updates of each variable that run in a step."""
        found: dict[str, tuple[str, ...]] = {}
        for name, node in self._around.graph.nodes.items():
            updates = tuple(early_updates(self._around, name)) if is_reference(node.op) else ()
            if updates and (run := tuple(u for u in updates if u in self._in_step)):
                found[name] = run
        return found

    @cached_property
    def _bits(self) -> Mapping[str, int]:
        """The updates, numbered: all of them are followed in one sweep."""
        return {
            u: bit for bit, u in enumerate(u for found in self._updates.values() for u in found)
        }

    @cached_property
    def _after(self) -> Sequence[int]:
        """For each node the updates that it comes after, as bits."""
        index = self._around.index
        return descendant_labels(index, [[index.ids[u]] for u in self._bits], control=True)

    def _is_behind(self, name: str, updates: Iterable[str]) -> bool:
        label = self._after[self._around.index.ids[name]]
        return any(label >> self._bits[update] & 1 for update in updates)

    def _base(self, ref: TensorRef) -> TensorRef:
        """The tensor nearest to its variable that ``ref`` shares a buffer with."""
        graph = self._around.graph
        while (source := shared_input(graph, ref)) is not None:
            if ops.is_variable(graph[source.node].op):
                break
            ref = source
        return ref

    def _snapshot(self, base: TensorRef, owner: str) -> Snapshot:
        graph = self._around.graph
        updates = self._late(owner, base.node)
        reading = graph.readers.get(base.node, ())
        readers = tuple(n for n in reading if not self._is_behind(n, updates))
        dtype = graph[owner].attrs.get("dtype")
        return Snapshot(
            base,
            dtype.base if isinstance(dtype, DType) else DType.FLOAT,
            graph[owner].device,
            readers,
            updates,
        )


def _is_fed(node: Node) -> bool:
    """Whether a step is fed by the node; strings name the file that a saver restores."""
    return ops.is_placeholder(node.op) and node.attrs.get("dtype") is not DType.STRING


def overwritten(snapshots: Snapshots, names: Iterable[str], of_what: str) -> Rejection | None:
    """Refuses copies that read what an update overwrites, where no snapshot can come before it."""
    found = snapshots.objection(names)
    if found is None:
        return None
    update, reader = found
    reason = (
        f"'{update}' writes a variable in the forward pass that '{reader}' of {of_what} reads, "
        "and nothing can keep its value: one of them lies in control flow."
    )
    return Rejection(Code.VARIABLE_CHANGES, reason, (update, reader))


def copied(edits: EditLog) -> frozenset[str]:
    """The nodes that ``edits`` add copies of."""
    return frozenset(e.origin for e in edits if isinstance(e, AddNode) and e.origin is not None)


def take_snapshots(snapshots: Iterable[Snapshot], editor: GraphEditor) -> None:
    """Adds the copies; what earlier edits added reads them too."""
    for snapshot in snapshots:
        source = snapshot.tensor
        with editor.because(source.node, "keep the value that the forward pass overwrites"):
            node = Node(
                name=editor.unique_name(f"{source.node}/kept"),
                op="DeepCopy",
                inputs=(source,),
                device=snapshot.device,
                attrs=MappingProxyType({"T": snapshot.dtype}),
            )
            kept = editor.add(node)
            readers = (n for n in editor.readers(source.node) if n != kept)
            added = [n for n in readers if BLOCK_ATTR in editor[n].attrs]
            editor.redirect(source, TensorRef(kept), dict.fromkeys((*snapshot.readers, *added)))
            for update in snapshot.updates:
                editor.add_controls(update, (kept,))
