"""How large a graph is once TensorFlow has put functions in the place of their calls.

A few kilobytes can name more nodes than a machine has memory for: sixty functions that each call
the next one twice are 2^60 calls. TensorFlow also takes a time that is quadratic in the depth of a
nest (1,500 calls in each other: over a minute). Nothing is expanded to find out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from graphrev.analysis.functions_calls import called_by, find_calls
from graphrev.ir import Graph, Node


@dataclass(frozen=True, slots=True)
class Inlined:
    """What nodes come to with all their calls.

    Attributes:
        nodes: their number; a function counts as often as it is called.
        depth: calls in each other, 0 where nothing is called.
    """

    nodes: int
    depth: int


def inlined(graph: Graph, nodes: Iterable[Node]) -> Inlined:
    """The size of ``nodes`` of ``graph`` with all their calls; linear in the library.

    A function that is missing counts nothing, one that calls itself as if it did so once.
    """
    known: dict[str, Inlined] = {}
    for name in find_calls(graph).order:
        if name in graph.functions:
            known[name] = _sum(graph, graph.functions[name].nodes.values(), known)
    return _sum(graph, nodes, known)


def _sum(graph: Graph, nodes: Iterable[Node], known: dict[str, Inlined]) -> Inlined:
    total, depth = 0, 0
    for node in nodes:
        bodies = [known[name] for name in called_by(node, graph) if name in known]
        total += 1 + sum(body.nodes for body in bodies)
        depth = max((depth, *(1 + body.depth for body in bodies)))
    return Inlined(total, depth)
