"""Structural invariants of a graph: what must hold before a pass may look at it, and after.

Names TensorFlow would refuse are warnings, not errors: such graphs exist (pruned or converted by
other tools), can be read and understood, and are not ours to reject.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from graphrev.errors import InvalidGraphError, printable
from graphrev.ir.graph import Function, Graph
from graphrev.ir.index import CycleError, GraphIndex
from graphrev.ir.node import Node, TensorRef

Count = Callable[[Node], "int | None"]
"""How many inputs or outputs a node has, as far as its op is known."""

_VALID_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""core/graph/graph_constructor.cc, "IsValidNodeName"."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, on which nodes; ``is_error`` is false for what TensorFlow alone minds."""

    message: str
    nodes: tuple[str, ...]
    is_error: bool = True


def verify(
    graph: Graph,
    output_count: Count | None = None,
    input_count: Count | None = None,
    since: Graph | None = None,
) -> None:
    """Checks every invariant.

    Args:
        graph: the graph.
        output_count: how many outputs a node has, for checking output indices; ``None`` as its
            answer means unknown.
        input_count: how many data inputs a node takes, likewise.
        since: an earlier graph that was verified; nodes that are the same there are not looked at
            again where nothing they may read was removed or became another op.

    Raises:
        InvalidGraphError: an invariant is broken; the message names the first few nodes.
    """
    errors: list[str] = []
    for problem in problems(graph, output_count, input_count, since):
        if problem.is_error:
            errors.append(problem.message)
        if len(errors) > _SHOWN:
            break
    if errors:
        more = " (and more)" if len(errors) > _SHOWN else ""
        raise InvalidGraphError(" ".join(errors[:_SHOWN]) + more)


def problems(
    graph: Graph,
    output_count: Count | None = None,
    input_count: Count | None = None,
    since: Graph | None = None,
) -> Iterator[Problem]:
    """Every broken invariant, in graph order; cycles last, and only in a graph without gaps."""
    whole = True
    output_count = cache(output_count) if output_count is not None else None
    known = since.nodes if since is not None and _only_grew(since, graph) else {}
    for key, node in graph.nodes.items():
        if known.get(key) is node:
            continue
        if input_count is not None:
            for problem in _arity_problems(node, input_count):
                whole = False
                yield problem
        if _is_sound(graph.nodes, key, node, output_count):
            continue
        for problem in _node_problems(graph.nodes, key, node, output_count):
            whole = whole and not problem.is_error
            yield problem
    if whole:
        yield from _cycles(lambda: graph.index)
    for function in graph.functions.values():
        yield from _function_problems(function)


def _only_grew(since: Graph, graph: Graph) -> bool:
    """Whether all nodes of ``since`` are still there, with the outputs they had."""
    for key, node in since.nodes.items():
        now = graph.nodes.get(key)
        if now is node:
            continue
        if now is None or now.op != node.op or now.attrs is not node.attrs:
            return False
    return True


def _arity_problems(node: Node, input_count: Count) -> tuple[Problem, ...]:
    wanted = input_count(node)
    if wanted is None or wanted == len(node.inputs):
        return ()
    message = (
        f"Node '{printable(node.name)}' has {len(node.inputs)} inputs; a '{printable(node.op)}' "
        f"with its attributes takes {wanted}."
    )
    return (Problem(message, (node.name,)),)


def _is_sound(nodes: Mapping[str, Node], key: str, node: Node, output_count: Count | None) -> bool:
    """Whether there is nothing to say about a node: quick, for a million of them."""
    if key != node.name or not node.op or not _VALID_NAME.fullmatch(key):
        return False
    for ref in node.inputs:
        source = nodes.get(ref.node)
        if source is None:
            return False
        count = output_count(source) if output_count is not None else None
        if ref.index < 0 or (count is not None and ref.index >= count):
            return False
    return all(source in nodes for source in node.control_inputs)


def _node_problems(
    nodes: Mapping[str, Node], key: str, node: Node, output_count: Count | None
) -> Iterator[Problem]:
    name = printable(node.name)
    if key != node.name:
        yield Problem(f"Node '{name}' is filed under the name '{printable(key)}'.", (key,))
    if not node.op:
        yield Problem(f"Node '{name}' has no op.", (key,))
    if not _VALID_NAME.fullmatch(node.name):
        yield Problem(f"TensorFlow refuses the node name '{name}'.", (key,), is_error=False)
    for ref in node.inputs:
        source = nodes.get(ref.node)
        if source is None:
            message = f"Node '{name}' reads '{printable(str(ref))}', which does not exist."
            yield Problem(message, (key, ref.node))
        else:
            yield from _index_problems(name, source, ref, output_count)
    for source_name in node.control_inputs:
        if source_name not in nodes:
            message = f"Node '{name}' waits for '{printable(source_name)}', which does not exist."
            yield Problem(message, (key, source_name))


def _index_problems(
    name: str, source: Node, ref: TensorRef, output_count: Count | None
) -> Iterator[Problem]:
    if output_count is None and ref.index == 0:
        return
    count = output_count(source) if output_count is not None else None
    if ref.index < 0 or (count is not None and ref.index >= count):
        message = (
            f"Node '{name}' reads output {ref.index} of '{printable(source.name)}', "
            f"a '{printable(source.op)}' with {count} output{'' if count == 1 else 's'}."
        )
        yield Problem(message, (name, source.name))


def _cycles(index: Callable[[], GraphIndex]) -> Iterator[Problem]:
    try:
        index()
    except CycleError as error:
        yield Problem(str(error), error.nodes)


def _function_problems(function: Function) -> Iterator[Problem]:
    known = {argument.name for argument in function.inputs} | set(function.nodes)
    where = f"function '{printable(function.name)}'"
    for node in function.nodes.values():
        sources = (*(ref.node for ref in node.inputs), *node.control_inputs)
        for source in sources:
            if source not in known:
                message = (
                    f"In {where}, node '{printable(node.name)}' reads '{printable(source)}', "
                    "which does not exist."
                )
                yield Problem(message, (node.name, source))
    for name in sorted({argument.name for argument in function.outputs} - set(function.returns)):
        message = f"Output '{printable(name)}' of {where} is returned by no node."
        yield Problem(message, (function.name,))
    for output, ref in function.returns.items():
        if ref.node not in known:
            message = (
                f"Output '{printable(output)}' of {where} returns '{printable(str(ref))}', "
                "which does not exist."
            )
            yield Problem(message, (function.name, ref.node))
    for output, source in function.control_returns.items():
        if source not in function.nodes:
            message = (
                f"Control output '{printable(output)}' of {where} returns '{printable(source)}', "
                "which does not exist."
            )
            yield Problem(message, (function.name, source))
