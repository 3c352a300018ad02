"""Functional control flow and calls, those inside functions too, in a line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphrev.analysis.functions_bodies import BodyError, body_of
from graphrev.analysis.functions_calls import FUNCTIONAL, MAIN, Calls, called_by, find_calls
from graphrev.analysis.functions_pairs import bodies_of, find_twins
from graphrev.ir import Graph, Node
from graphrev.ir.index import CycleError


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the graph that control flow encloses.

    Attributes:
        kind: ``loop``, ``gradient loop``, ``branch``, ``fault`` or the op type of a functional
            node.
        name: frame name, predicate or node name; inside a function behind the function's name.
        nodes: how many nodes run in it (in a loop: in one iteration, inner loops not counted).
        detail: what else there is to say.
    """

    kind: str
    name: str
    nodes: int
    detail: str = ""

    def __str__(self) -> str:
        tail = f", {self.detail}" if self.detail else ""
        return f"{self.kind} '{self.name}': {self.nodes} nodes{tail}"

    def to_json(self) -> dict[str, Any]:
        """The place as plain data."""
        return {
            "kind": self.kind,
            "name": self.name,
            "nodes": self.nodes,
            "detail": self.detail,
        }


def functional_places(graph: Graph) -> Iterator[Place]:
    """The functional nodes that run when the graph runs, and what is wrong with the library."""
    if not graph.functions and not any(n.op in FUNCTIONAL for n in graph.nodes.values()):
        return
    calls = find_calls(graph)
    yield from _in_level(graph, graph, MAIN)
    for name, function in graph.functions.items():
        if name not in calls.reached or not _calls_any(calls, name):
            continue
        try:
            level = body_of(function, graph).graph
        except BodyError as error:
            yield Place("fault", name, len(function.nodes), str(error))
        else:
            yield from _in_level(level, graph, name)
    for fault in calls.faults:
        yield Place("fault", fault.nodes[0], len(fault.nodes), fault.reason)


def _calls_any(calls: Calls, name: str) -> bool:
    return bool(calls.called.get(name))


def _in_level(level: Graph, library: Graph, inside: str) -> Iterator[Place]:
    gradients = _gradients(level)
    for name, node in level.nodes.items():
        called = tuple(dict.fromkeys(called_by(node, library)))
        if node.op in FUNCTIONAL or called:
            where = f"{inside}/{name}" if inside else name
            yield Place(node.op, where, *_size(node, called, library, gradients.get(name)))


def _gradients(level: Graph) -> dict[str, str]:
    """By gradient node the node it may be the gradient of."""
    try:
        return {twins.backward: twins.forward for twins in find_twins(level)}
    except (CycleError, KeyError):  # an invalid body is for whoever rewrites it to refuse
        return {}


def _size(
    node: Node, called: tuple[str, ...], library: Graph, gradient_of: str | None
) -> tuple[int, str]:
    known = [library.functions[name] for name in called if name in library.functions]
    missing = [name for name in called if name not in library.functions]
    parts = ["runs " + ", ".join(called)]
    if gradient_of is not None:
        parts.append(f"gradient of '{gradient_of}'")
    bodies = [library.functions[f] for f in bodies_of(node) if f in library.functions]
    pushes = sum(n.op == "TensorListPushBack" for f in bodies for n in f.nodes.values())
    if pushes:
        parts.append(f"{pushes} values saved an iteration")
    if missing:
        parts.append(f"not in the library: {', '.join(missing)}")
    return sum(len(function.nodes) for function in known), "; ".join(parts)
