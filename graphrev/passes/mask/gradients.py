"""Which tensors of a differentiated graph are gradients of a masked kernel.

Had the kernel been masked first, its gradient would be ``mask * dL/d(masked)``. The input gradients
multiply by the kernel, so they are uses like any other and read the masked kernel. What is left
are the gradients with respect to the kernel. For ``x @ w`` with incoming gradient ``dy`` that is
``x^T @ dy``: a product of what two uses of ``w`` (the forward one with ``x``, the input gradient
``dy @ w^T``) multiply by. A node of the right form that reads the data of both is proven to be one.
Where no input gradient exists (the first layer) it reads the data of one use only; then it must
lead to the variable's update through ops that only carry a gradient, or be an op that exists for
nothing else. In a while loop the contributions are summed up inside and leave at an ``Exit``
that leads to the update.

Weight decay reads the raw kernel and enters the sum beside these tensors, untouched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from graphrev.analysis import ops
from graphrev.analysis.order import descendant_labels, index_of
from graphrev.ir import Graph, Node, TensorRef
from graphrev.passes.mask.joins import joined
from graphrev.passes.mask.plan import GradientMask
from graphrev.passes.mask.roles import (
    CONVOLUTIONS,
    METADATA,
    data_position,
    gradient_slot,
    is_filter_gradient,
)
from graphrev.passes.mask.trace import Kernel
from graphrev.passes.mask.updates import carried, updated_by


@dataclass
class _Candidate:
    """A node of a gradient's form: for each kernel, the input slots that read data of its uses.

    Kernels that are joined count as one, under the name of the first.
    """

    slots: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    masks: dict[str, GradientMask] = field(default_factory=dict[str, GradientMask])


class Gradients:
    """The gradients of a graph, matched with kernels."""

    def __init__(self, graph: Graph, kernels: Sequence[Kernel]) -> None:
        self._graph = graph
        self._kernels = kernels
        self._groups = joined(graph, kernels)
        self._updates = {kernel.name: updated_by(graph, kernel.name) for kernel in kernels}
        self._sinks: dict[str, frozenset[str]] = {}
        names = frozenset(self._updates)
        for name, mutators in self._updates.items():
            group = self._groups[name]
            found = self._sinks.get(group, frozenset())
            self._sinks[group] = found | frozenset(carried(graph, mutators, names))
        self._candidates = self._find()

    def updates(self, kernel: Kernel) -> tuple[str, ...]:
        """The nodes that update the variable from a gradient."""
        return self._updates[kernel.name]

    def of(self, kernel: Kernel) -> tuple[GradientMask, ...] | str:
        """The gradients to mask; a sentence where they cannot be told apart."""
        found: dict[TensorRef, GradientMask] = {}
        group = self._groups[kernel.name]
        for name, candidate in self._candidates.items():
            if group not in candidate.slots:
                continue
            owner = self._owner(name, candidate)
            if owner is None:
                return f"'{name}' may be the gradient of several kernels."
            if owner == group:
                tensor = self._settled(name)
                if tensor is None:
                    return f"The gradient '{name}' is reduced in a way that is not understood."
                found[tensor] = replace(candidate.masks[group], tensor=tensor)
        outside = self._at_exits(kernel)
        if outside is None:
            return "It enters a loop in several forms, and one gradient leaves it."
        found |= outside
        updates = self._updates[kernel.name]
        if not found and updates and self._is_trained(kernel):
            return "The variable is updated, but no gradient was found that leads there."
        if not found and any(ops.is_optimizer_apply(self._graph[name].op) for name in updates):
            return f"'{updates[0]}' updates it by gradients of something else."
        return tuple(found.values()) if group == kernel.name else ()

    def _is_trained(self, kernel: Kernel) -> bool:
        """Whether what updates the variable depends on one of its products."""
        index = index_of(self._graph)
        seeds = [index.ids[use.node] for use, _, _ in kernel.uses()]
        labels = descendant_labels(index, [seeds], control=False)
        return any(labels[index.ids[name]] for name in self._updates[kernel.name])

    def _find(self) -> dict[str, _Candidate]:
        graph = self._graph
        found: dict[str, _Candidate] = {}
        for kernel in self._kernels:
            group = self._groups[kernel.name]
            for use, tensor, read in kernel.uses():
                node = graph[use.node]
                place = data_position(node, use.position)
                if place is None or self._is_popped(read.chain(tensor)):
                    continue
                data = node.inputs[place]
                for reader in graph.readers_of(data):
                    candidate = graph[reader]
                    slot = gradient_slot(use, node, candidate)
                    if slot is None or reader == use.node:
                        continue
                    for taken in _slots(candidate, data, slot):
                        entry = found.setdefault(reader, _Candidate())
                        entry.slots.setdefault(group, set()).add(taken)
                        mask = GradientMask(data, read.chain(tensor), read.path, read.tensor)
                        entry.masks.setdefault(group, mask)
        return found

    def _is_popped(self, views: tuple[TensorRef, ...]) -> bool:
        """Whether a gradient loop reads it from a stack; what leaves that loop is masked."""
        return any(self._graph[view.node].op == "StackPopV2" for view in views)

    def _owner(self, name: str, candidate: _Candidate) -> str | None:
        """The kernel it is the gradient of; empty for none of them, ``None`` for unclear."""
        proven = [kernel for kernel, slots in candidate.slots.items() if len(slots) > 1]
        if len(proven) == 1:
            return proven[0]
        possible = [kernel for kernel in (proven or candidate.slots) if name in self._sinks[kernel]]
        if len(possible) == 1:
            return possible[0]
        node = self._graph[name]
        sized = [k for k in candidate.slots if self._sized_by(node, k)]
        if len(sized) == 1:
            return sized[0]
        if possible or proven:
            return None
        if not is_filter_gradient(node.op):
            return ""
        return next(iter(candidate.slots)) if len(candidate.slots) == 1 else None

    def _sized_by(self, node: Node, name: str) -> bool:
        """Whether a filter gradient takes its shape from this kernel (``ShapeN`` of it)."""
        if not is_filter_gradient(node.op):
            return False
        shape = node.inputs[1]
        source = self._graph[shape.node]
        if source.op not in METADATA or shape.index >= len(source.inputs):
            return False
        measured = source.inputs[shape.index]
        return any(measured in k.tensors for k in self._kernels if self._groups[k.name] == name)

    def _settled(self, name: str) -> TensorRef | None:
        """The gradient in the kernel's shape: behind the sum over batches it was broadcast to."""
        node = self._graph[name]
        if node.op in CONVOLUTIONS or is_filter_gradient(node.op) or node.op == "MatMul":
            return TensorRef(name)
        readers = self._graph.readers.get(name, ())
        summing = [r for r in readers if self._graph[r].op == "Sum"]
        if not summing:
            return TensorRef(name)
        after = self._graph.readers.get(summing[0], ())
        if len(readers) == len(summing) == len(after) == 1 and _is_reshape(self._graph, after[0]):
            return TensorRef(after[0])
        return None

    def _at_exits(self, kernel: Kernel) -> dict[TensorRef, GradientMask] | None:
        """What leaves a loop, in the form in which the kernel entered it; ``None`` for several."""
        entries = self._entries(kernel)
        if len(entries) > 1:
            return None
        return {t: replace(entry, tensor=t) for entry in entries for t in self._exits(kernel)}

    def _entries(self, kernel: Kernel) -> tuple[GradientMask, ...]:
        """In which forms the kernel enters loops: as it is, or joined or turned before."""
        found: dict[tuple[TensorRef, ...], GradientMask] = {}
        for _, tensor, read in kernel.uses():
            chain = read.chain(tensor)
            inside = next(
                (i for i, view in enumerate(chain) if self._graph[view.node].op == "Enter"), None
            )
            if any(self._graph[name].op == "Enter" for name in read.path):
                found[()] = GradientMask(tensor)
            elif inside is not None:
                views = chain[:inside]
                whole = GradientMask(tensor, views, read.path, read.tensor)
                found[views] = whole if views else GradientMask(tensor)
        return tuple(found.values())

    def _exits(self, kernel: Kernel) -> Iterator[TensorRef]:
        """Where gradients summed up in a loop's backward pass leave it."""
        for name in sorted(self._sinks[self._groups[kernel.name]]):
            node = self._graph[name]
            if node.op == "Exit":
                yield TensorRef(name)


def _slots(candidate: Node, data: TensorRef, slot: int) -> Iterator[int]:
    if slot >= 0:
        if candidate.inputs[slot] == data:
            yield slot
        return
    for place, ref in enumerate(candidate.inputs):
        if ref == data:
            yield place


def _is_reshape(graph: Graph, name: str) -> bool:
    return graph[name].op == "Reshape"
