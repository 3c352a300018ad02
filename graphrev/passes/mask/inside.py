"""Variables that only functions multiply by: bodies of functional loops, branches and calls.

Their products are not in the graph itself, so the pass does not reach them; it says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphrev.analysis import ops
from graphrev.analysis.functions_calls import BRANCHES, FUNCTIONAL, called_by
from graphrev.ir import DType, Function, Graph, Node, TensorRef
from graphrev.passes.mask.roles import VIEWS, kernel_positions
from graphrev.passes.mask.trace import Kernel
from graphrev.pipeline import Code, Rejection

_READS = VIEWS | {"ReadVariableOp"}


def kernels_inside(graph: Graph, kernels: Sequence[Kernel]) -> tuple[Rejection, ...]:
    """One rejection for each variable that is a kernel in functions alone.

    Args:
        kernels: those that the graph itself multiplies by.
    """
    known = {kernel.name for kernel in kernels}
    found: list[Rejection] = []
    seen: dict[tuple[str, int], bool] = {}
    for name, node in graph.nodes.items():
        dtype = node.attrs.get("dtype")
        if name in known or not ops.is_variable(node.op) or not _is_floating(dtype):
            continue
        for reader, position in _passed(graph, TensorRef(name)):
            if _multiplies(graph, graph[reader], position, seen):
                reason = f"Kernel '{name}' is passed into a function by '{reader}'."
                found.append(Rejection(Code.KERNEL_SHARED, reason, (name, reader)))
                break
    return tuple(found)


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


def _multiplies(graph: Graph, node: Node, position: int, seen: dict[tuple[str, int], bool]) -> bool:
    """Whether a function that ``node`` calls multiplies by what it is given at ``position``."""
    place = position - (node.op in BRANCHES)
    return any(_in_body(graph, name, place, seen) for name in called_by(node, graph))


def _in_body(graph: Graph, name: str, place: int, seen: dict[tuple[str, int], bool]) -> bool:
    function = graph.functions.get(name)
    if function is None or not 0 <= place < len(function.inputs):
        return False
    if (name, place) in seen:
        return seen[name, place]
    seen[name, place] = False
    held = _views_of(function, function.inputs[place].name)
    for node in function.nodes.values():
        at = [i for i, ref in enumerate(node.inputs) if ref.node in held]
        if set(at) & set(kernel_positions(node)) or (
            node.op in FUNCTIONAL and any(_multiplies(graph, node, i, seen) for i in at)
        ):
            seen[name, place] = True
            break
    return seen[name, place]


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
