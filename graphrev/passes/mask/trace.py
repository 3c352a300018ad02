"""From a variable to the ops that multiply by it.

A *read* is a tensor that holds the variable's value. From each read, *views* (casts,
transpositions, loop entries) lead to *uses* (products and convolutions). Everything else that reads
the value (weight decay, summaries, savers) is *other* and keeps the raw value, as it would have if
the kernel had been masked before the graph was differentiated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphrev.analysis import ops
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.passes.mask.roles import (
    JOINS,
    LOOKUPS,
    METADATA,
    VIEWS,
    Use,
    data_position,
    kernel_positions,
)

_CONTEXT_OPS = frozenset({"Enter", "Switch"})
_PUSH, _POP = "StackPushV2", "StackPopV2"


@dataclass(frozen=True, slots=True)
class Edge:
    """``reader`` reads the value at input ``position``.

    Attributes:
        outputs: the tensors that hand the value on, for a view; empty for everything else.
        is_use: whether the reader multiplies by the value.
    """

    reader: str
    position: int
    outputs: tuple[TensorRef, ...] = ()
    is_use: bool = False


@dataclass(frozen=True)
class Read:
    """A tensor with the variable's value.

    Attributes:
        tensor: the tensor.
        path: for a read inside a loop or branch, the nodes that lead the handle there.
        edges: who reads the value, by tensor, views followed.
        parents: for each tensor a view puts out, the view and the tensor it reads.
    """

    tensor: TensorRef
    path: tuple[str, ...] = ()
    edges: Mapping[TensorRef, tuple[Edge, ...]] = field(default_factory=dict)
    parents: Mapping[TensorRef, tuple[str, TensorRef]] = field(default_factory=dict)

    def uses(self) -> Iterator[tuple[Use, TensorRef]]:
        """The uses, and the tensor each reads."""
        for tensor, edges in self.edges.items():
            for edge in edges:
                if edge.is_use:
                    yield Use(edge.reader, edge.position), tensor

    def chain(self, tensor: TensorRef) -> tuple[TensorRef, ...]:
        """The outputs of the views from the read to ``tensor``, in order."""
        views: list[TensorRef] = []
        while tensor in self.parents:
            views.append(tensor)
            tensor = self.parents[tensor][1]
        return tuple(reversed(views))


@dataclass(frozen=True)
class Kernel:
    """A floating-point variable with its reads, and ``others`` that no product follows."""

    node: Node
    dtype: DType
    dims: tuple[int | None, ...] | None
    is_resource: bool
    reads: tuple[Read, ...]
    others: tuple[Read, ...] = ()

    @property
    def raw(self) -> tuple[TensorRef, ...]:
        """Every tensor that holds the value as it is."""
        return tuple(read.tensor for read in (*self.reads, *self.others))

    @property
    def name(self) -> str:
        """The variable's name."""
        return self.node.name

    @property
    def tensors(self) -> frozenset[TensorRef]:
        """Every tensor that holds the value or a view of it."""
        return frozenset(tensor for read in self.reads for tensor in read.edges)

    def uses(self) -> Iterator[tuple[Use, TensorRef, Read]]:
        """Every use, the tensor it reads and the read that leads there."""
        for read in self.reads:
            for use, tensor in read.uses():
                yield use, tensor, read


def find_kernels(graph: Graph) -> tuple[Kernel, ...]:
    """The variables that some op multiplies by, in graph order."""
    found: list[Kernel] = []
    for name, node in graph.nodes.items():
        dtype = _variable_dtype(node)
        if dtype is None or not dtype.is_floating:
            continue
        is_resource = node.op == "VarHandleOp"
        reads = tuple(_resource_reads(graph, name) if is_resource else _ref_reads(graph, name))
        used = tuple(read for read in reads if any(read.uses()))
        if used:
            shape = node.attrs.get("shape")
            dims = getattr(shape, "dims", None)
            others = tuple(read for read in reads if not any(read.uses()))
            found.append(Kernel(node, dtype.base, dims, is_resource, used, others))
    return tuple(found)


def _variable_dtype(node: Node) -> DType | None:
    if not ops.is_variable(node.op):
        return None
    dtype = node.attrs.get("dtype")
    return dtype if isinstance(dtype, DType) else None


def _ref_reads(graph: Graph, name: str) -> Iterator[Read]:
    reference = TensorRef(name)
    direct = _explore(graph, reference, follow=frozenset())
    if any(direct.uses()):
        yield direct
    for reader in graph.readers_of(reference):
        if graph[reader].op == "Identity":
            yield _explore(graph, TensorRef(reader))


def _resource_reads(graph: Graph, name: str) -> Iterator[Read]:
    for handle, path in _handles(graph, name):
        for reader in graph.readers_of(handle):
            if graph[reader].op == "ReadVariableOp":
                yield _explore(graph, TensorRef(reader), path)


def _handles(graph: Graph, name: str) -> Iterator[tuple[TensorRef, tuple[str, ...]]]:
    """A resource variable's handle wherever it is led, with the nodes that lead it there."""
    pending: list[tuple[TensorRef, tuple[str, ...]]] = [(TensorRef(name), ())]
    while pending:
        handle, path = pending.pop(0)
        yield handle, path
        for reader in graph.readers_of(handle):
            node = graph[reader]
            if node.op in _CONTEXT_OPS and node.inputs[0] == handle:
                outputs = _outputs(node)
                pending.extend((output, (*path, reader)) for output in outputs)


def _explore(
    graph: Graph,
    start: TensorRef,
    path: tuple[str, ...] = (),
    follow: frozenset[str] = VIEWS | JOINS | {_PUSH},
) -> Read:
    edges: dict[TensorRef, tuple[Edge, ...]] = {}
    parents: dict[TensorRef, tuple[str, TensorRef]] = {}
    pending = [start]
    while pending:
        tensor = pending.pop()
        if tensor in edges:
            continue
        edges[tensor] = tuple(_edges(graph, tensor, follow))
        for edge in edges[tensor]:
            for output in edge.outputs:
                parents.setdefault(output, (edge.reader, tensor))
                pending.append(output)
    return Read(start, path, edges, parents)


def _edges(graph: Graph, tensor: TensorRef, follow: frozenset[str]) -> Iterator[Edge]:
    for reader in graph.readers_of(tensor):
        node = graph[reader]
        if node.op in METADATA:
            continue
        for position, ref in enumerate(node.inputs):
            if ref != tensor:
                continue
            if position in kernel_positions(node):
                yield Edge(reader, position, is_use=True)
            elif node.op in follow and _hands_on(node, position):
                yield Edge(reader, position, _handed_on(graph, node))
            else:
                yield Edge(reader, position)


def _hands_on(node: Node, position: int) -> bool:
    if node.op in JOINS:
        return position < len(node.inputs) - 1
    return position == (1 if node.op == _PUSH else 0)


def _handed_on(graph: Graph, node: Node) -> tuple[TensorRef, ...]:
    """The tensors that hold what ``node`` was given; for a push, what the pops give back.

    A push whose pops are not found hands nothing on, and so counts as another reader.
    """
    if node.op != _PUSH:
        return _outputs(node)
    handles = {node.inputs[0], *_sources(graph, node.inputs[0])}
    found = [TensorRef(node.name)]
    pending, seen = list(handles), set(handles)
    while pending:
        handle = pending.pop()
        for reader in graph.readers_of(handle):
            led = graph[reader]
            if led.op == _POP:
                found.append(TensorRef(reader))
            elif led.op in _CONTEXT_OPS and led.inputs[0] == handle:
                fresh = [output for output in _outputs(led) if output not in seen]
                seen.update(fresh)
                pending.extend(fresh)
    return tuple(found) if len(found) > 1 else ()


def _sources(graph: Graph, handle: TensorRef) -> Iterator[TensorRef]:
    """What a stack's handle comes from, back to the op that made the stack."""
    node = graph[handle.node]
    while node.op in _CONTEXT_OPS:
        handle = node.inputs[0]
        yield handle
        node = graph[handle.node]


def _outputs(node: Node) -> tuple[TensorRef, ...]:
    count = 2 if node.op == "Switch" else 1
    return tuple(TensorRef(node.name, index) for index in range(count))


def other_readers(graph: Graph, kernel: Kernel) -> Iterator[str]:
    """The nodes that read the value, or the handle, for something else than a product."""
    if kernel.is_resource:
        for handle, _ in _handles(graph, kernel.name):
            yield from (r for r in graph.readers_of(handle) if graph[r].op != "ReadVariableOp")
    for read in (*kernel.reads, *kernel.others):
        for edges in read.edges.values():
            for edge in edges:
                if not edge.is_use and not edge.outputs:
                    yield edge.reader


def reads_itself(graph: Graph, kernel: Kernel) -> str | None:
    """A product of the variable with itself (an orthogonality penalty), if there is one."""
    tensors = kernel.tensors
    for use, _, _ in kernel.uses():
        node = graph[use.node]
        place = data_position(node, use.position)
        if place is not None and node.inputs[place] in tensors:
            return use.node
    return None


def lookup_of(graph: Graph, kernel: Kernel) -> str | None:
    """An op that looks rows of the variable up (an embedding), if there is one."""
    return next((name for name in other_readers(graph, kernel) if graph[name].op in LOOKUPS), None)
