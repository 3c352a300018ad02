"""Residual pairs inside library functions: found, named, and left alone.

The bodies of ``While``, ``If``, ``Case`` and of called functions are graphs of their own, and what
their gradients need travels through TensorList accumulators and extra outputs. None of that is
rewritten in this version; a block in there is refused with the nodes that call its function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.ir import Function, FunctionRef, Graph, Node, TensorRef
from graphrev.ir.index import CycleError
from graphrev.ir.marks import pair_marks
from graphrev.passes.reversible.search import search
from graphrev.passes.reversible.sums import is_sum
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.pipeline import Code, Rejection


def refused_functions(graph: Graph, *, marked: bool) -> tuple[Rejection, ...]:
    """A rejection for each function that holds pairs and is called in ``graph``.

    Args:
        marked: whether marks say where pairs are, or structure alone.
    """
    if not graph.functions:
        return ()
    callers = _callers(graph)
    return tuple(
        Rejection(Code.CROSSES_FRAME, _reason(graph, name, found, callers[name]), callers[name])
        for name, function in graph.functions.items()
        if name in callers and (found := _marks(function) if marked else _sums(function))
    )


def _reason(graph: Graph, name: str, found: tuple[str, ...], callers: tuple[str, ...]) -> str:
    op = graph[callers[0]].op
    shown = ", ".join(f"'{item}'" for item in found[:3])
    return f"Function '{name}', which '{callers[0]}' ({op}) runs, holds the pairs {shown}."


def _marks(function: Function) -> tuple[str, ...]:
    nodes = function.nodes.values()
    return tuple(dict.fromkeys(mark.id for node in nodes for mark in pair_marks(node)))


def _sums(function: Function) -> tuple[str, ...]:
    """The second sums of the pairs in a function's body, found by structure."""
    if sum(is_sum(node) for node in function.nodes.values()) < 2:
        return ()
    body = _flat(function)
    if body is None:
        return ()
    try:
        around = Surroundings.of(body)
    except CycleError:
        return ()
    ours = around.gradient_side
    sums = [n for n, node in body.nodes.items() if is_sum(node) and n not in ours]
    return tuple(pair.second.y.node for pair in search(around, sums).pairs)


def _flat(function: Function) -> Graph | None:
    """A function's body as a graph; ``None`` where an op's outputs cannot be numbered."""
    arguments = [
        Node(item.name, "Placeholder", attrs=MappingProxyType({"dtype": item.dtype}))
        if item.dtype is not None
        else Node(item.name, "Placeholder")
        for item in function.inputs
    ]
    nodes: list[Node] = list(arguments)
    known = {*function.nodes, *(node.name for node in arguments)}
    for node in function.nodes.values():
        inputs = tuple(_tensor(function, ref) for ref in node.inputs)
        if None in inputs or not all(ref.node in known for ref in inputs if ref):
            return None
        waits = tuple(name for name in node.control_inputs if name in known)
        nodes.append(node.evolve(inputs=inputs, control_inputs=waits))
    return Graph.of(nodes)


def _tensor(function: Function, ref: TensorRef) -> TensorRef | None:
    if not ref.port:
        return ref
    producer = function.nodes.get(ref.node)
    ranges = None if producer is None else ops.output_ranges(producer)
    if ranges is None or ref.port not in ranges:
        return None
    return TensorRef(ref.node, ranges[ref.port].start + ref.index)


def _callers(graph: Graph) -> dict[str, tuple[str, ...]]:
    """The nodes of ``graph`` that run each function, directly or through other functions."""
    found: dict[str, dict[str, None]] = {}
    for caller, node in graph.nodes.items():
        pending, seen = list(_called(node)), set[str]()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            found.setdefault(name, {})[caller] = None
            if name in graph.functions:
                bodies: Iterable[Node] = graph.functions[name].nodes.values()
                pending.extend(inner for node in bodies for inner in _called(node))
    return {name: tuple(callers) for name, callers in found.items()}


def _called(node: Node) -> Iterator[str]:
    for value in node.attrs.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, FunctionRef):
                yield item.name
