"""Carries a reversible pair of an outer body through the inner loops that are rewritten already.

The gradient of an inner loop that carries its variables back hands them out as the loop found them:
that is what the outer body computed and handed in. So whatever comes after the inner gradient loop
reads it there, and the outer body need not save it. What comes before it cannot, for it would wait
for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphrev.analysis.identities import origin
from graphrev.editor import GraphEditor
from graphrev.edits import Cause
from graphrev.ir import Graph, TensorRef
from graphrev.recomputation.functions.combining import CARRIER_OP
from graphrev.recomputation.functions.writing import Change


@dataclass(frozen=True, slots=True)
class Returned:
    """What a gradient loop hands out again.

    Attributes:
        loop: the forward loop.
        place: the input of it that is handed out again.
        gradient: the gradient loop, and which output of it that is.
    """

    loop: str
    place: int
    gradient: TensorRef


def returned_by(change: Change) -> tuple[Returned, ...]:
    """What the gradient loop of a rewritten pair hands out."""
    layout, twins = change.layout, change.demands[0].sides.combined.wires.twins
    first = len(layout.arguments) + len(layout.outer) + len(layout.hoisted)
    return tuple(
        Returned(
            twins.forward, layout.outputs.index(place), TensorRef(twins.backward, first + number)
        )
        for number, place in enumerate(layout.carried)
    )


def carried_through(graph: Graph, found: Sequence[Returned]) -> Graph:
    """``graph`` with the readers behind each gradient loop reading what it hands out."""
    if not found:
        return graph
    editor = GraphEditor(graph, Cause("nests"))
    for item in found:
        value = origin(graph, graph[item.loop].inputs[item.place])
        if not _is_saved(graph, value):
            continue
        for name in _behind(graph, item.gradient.node):
            for position, ref in enumerate(graph[name].inputs):
                if origin(graph, ref) == value:
                    editor.set_input(name, position, item.gradient)
    return editor.finish()[0]


def _is_saved(graph: Graph, value: TensorRef) -> bool:
    """Whether a tensor would have to be saved: not where it enters every iteration alike."""
    readers = graph.readers.get(value.node, ())
    return bool(graph[value.node].inputs) or any(graph[n].op == CARRIER_OP for n in readers)


def _behind(graph: Graph, start: str) -> Iterable[str]:
    """What comes after a node, and the readers that stand for the next iteration."""
    found = {name: None for name, node in graph.nodes.items() if node.op == CARRIER_OP}
    pending = [start]
    while pending:
        name = pending.pop()
        for reader in (*graph.readers.get(name, ()), *graph.control_readers.get(name, ())):
            if reader not in found:
                found[reader] = None
                pending.append(reader)
    return found
