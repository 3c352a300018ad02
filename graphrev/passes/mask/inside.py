"""Variables that only functions multiply by: bodies of functional loops, branches and calls.

Their products are not in the graph itself, so the pass does not reach them; it says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from graphrev.analysis import ops
from graphrev.analysis.functions_calls import BRANCHES, FUNCTIONAL, called_by
from graphrev.ir import DType, Function, Graph, Node, TensorRef
from graphrev.passes.mask.roles import VIEWS, kernel_positions
from graphrev.passes.mask.trace import Kernel
from graphrev.pipeline import Code, Rejection

_READS = VIEWS | {"ReadVariableOp"}
Argument: TypeAlias = tuple[str, int]
"""A function and the place of one of its arguments."""


def kernels_inside(graph: Graph, kernels: Sequence[Kernel]) -> tuple[Rejection, ...]:
    """One rejection for each variable that is a kernel in functions alone.

    Args:
        kernels: those that the graph itself multiplies by.
    """
    handed = list(_handed(graph, {kernel.name for kernel in kernels}))
    multiplied = _multiplied(graph, [place for _, _, places in handed for place in places])
    readers: dict[str, str] = {}
    for name, reader, places in handed:
        if not multiplied.isdisjoint(places):
            readers.setdefault(name, reader)
    return tuple(
        Rejection(
            Code.KERNEL_SHARED,
            f"Kernel '{name}' is passed into a function by '{reader}'.",
            (name, reader),
        )
        for name, reader in readers.items()
    )


def _handed(graph: Graph, known: set[str]) -> Iterator[tuple[str, str, list[Argument]]]:
    """Variables that are no kernels outside, a node that passes each on, and as which arguments."""
    for name, node in graph.nodes.items():
        dtype = node.attrs.get("dtype")
        if name not in known and ops.is_variable(node.op) and _is_floating(dtype):
            for reader, position in _passed(graph, TensorRef(name)):
                yield name, reader, list(_arguments(graph, graph[reader], position))


def _is_floating(dtype: object) -> bool:
    return isinstance(dtype, DType) and dtype.is_floating


def _passed(graph: Graph, start: TensorRef) -> Iterator[tuple[str, int]]:
    """The functional nodes that a value is handed to, through views, and the input positions."""
    pending, seen = [start], {start}
    while pending:
        tensor = pending.pop()
        for reader in graph.readers_of(tensor):
            node = graph[reader]
            if node.op in FUNCTIONAL:
                yield from ((reader, at) for at, ref in enumerate(node.inputs) if ref == tensor)
            elif node.op in _READS and node.inputs[0] == tensor:
                output = TensorRef(reader)
                if output not in seen:
                    seen.add(output)
                    pending.append(output)


def _arguments(graph: Graph, node: Node, position: int) -> Iterator[Argument]:
    """What the functions that ``node`` calls get from its input ``position``."""
    place = position - (node.op in BRANCHES)
    for name in called_by(node, graph):
        function = graph.functions.get(name)
        if function is not None and 0 <= place < len(function.inputs):
            yield name, place


def _multiplied(graph: Graph, starts: Sequence[Argument]) -> set[Argument]:
    """The arguments that a function multiplies by, or hands on to one that does.

    Every body is walked once, and nothing recurses: a file may nest functions as deep as it likes.
    """
    callers: dict[Argument, list[Argument]] = {}
    direct: list[Argument] = []
    pending, seen = list(starts), set(starts)
    while pending:
        argument = pending.pop()
        for node, position in _readers(graph.functions[argument[0]], argument[1]):
            if position in kernel_positions(node):
                direct.append(argument)
            for inner in _arguments(graph, node, position) if node.op in FUNCTIONAL else ():
                callers.setdefault(inner, []).append(argument)
                if inner not in seen:
                    seen.add(inner)
                    pending.append(inner)
    found = set[Argument]()
    while direct:
        argument = direct.pop()
        if argument not in found:
            found.add(argument)
            direct.extend(callers.get(argument, ()))
    return found


def _readers(function: Function, place: int) -> Iterator[tuple[Node, int]]:
    """Who reads an argument or a view of it, and at which input."""
    held = _views_of(function, function.inputs[place].name)
    for node in function.nodes.values():
        yield from ((node, at) for at, ref in enumerate(node.inputs) if ref.node in held)


def _views_of(function: Function, argument: str) -> set[str]:
    """An argument, and the nodes of the body that hand its value on."""
    views: dict[str, list[str]] = {}
    for node in function.nodes.values():
        if node.op in _READS and node.inputs:
            views.setdefault(node.inputs[0].node, []).append(node.name)
    held, pending = set[str](), [argument]
    while pending:
        name = pending.pop()
        if name not in held:
            held.add(name)
            pending.extend(views.get(name, ()))
    return held
