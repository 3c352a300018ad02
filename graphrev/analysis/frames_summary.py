"""Every loop, branch and called function of a graph in a line each, with its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphrev.analysis.frames import control_contexts
from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.ir import FunctionRef, Graph, Node

_FUNCTIONAL = frozenset(
    {
        "Case",
        "If",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "StatelessCase",
        "StatelessIf",
        "StatelessWhile",
        "While",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the graph that control flow encloses.

    Attributes:
        kind: ``loop``, ``gradient loop``, ``branch`` or the op type of a functional node.
        name: frame name, predicate or node name.
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


def places(graph: Graph) -> tuple[Place, ...]:
    """The loops, branches and functional control flow of ``graph``, which must be verified."""
    return (*_loops(control_flow(graph)), *_branches(graph), *_functional(graph))


def _loops(flow: ControlFlow) -> Iterator[Place]:
    gradients = {pair.backward.number: pair for pairs in flow.gradients.values() for pair in pairs}
    for number, loop in flow.frames.loops.items():
        detail = f"{len(loop.variables)} variables, {len(loop.invariants)} invariants"
        pair = gradients.get(number)
        kind = "loop" if pair is None else "gradient loop"
        if pair is not None:
            forward = pair.forward.name.decode("utf-8", "replace")
            detail += f", of '{forward}', {len(pair.stacks)} stacks"
        yield Place(kind, loop.name.decode("utf-8", "replace"), loop.size, detail)
    for fault in flow.faults:
        yield Place("fault", fault.nodes[0], len(fault.nodes), fault.reason)


def _branches(graph: Graph) -> Iterator[Place]:
    sizes = Counter(control_contexts(graph).values())
    for context, size in sizes.items():
        kind, _, name = context[-1].partition(" ")
        if kind == "cond":
            yield Place("branch", name, size)


def _functional(graph: Graph) -> Iterator[Place]:
    for name, node in graph.nodes.items():
        if node.op in _FUNCTIONAL:
            called = tuple(_called(node))
            known = [graph.functions[f] for f in called if f in graph.functions]
            missing = [f for f in called if f not in graph.functions]
            detail = "runs " + ", ".join(called)
            if missing:
                detail += f"; not in the library: {', '.join(missing)}"
            yield Place(node.op, name, sum(len(function.nodes) for function in known), detail)


def _called(node: Node) -> Iterator[str]:
    for value in node.attrs.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, FunctionRef):
                yield item.name
