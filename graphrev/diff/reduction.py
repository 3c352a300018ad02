"""Shrinks a graph to the smallest one found for which a check still fails.

Delta debugging over three kinds of cuts, each tried on ever smaller groups of nodes until none
helps: nodes with everything that depends on them; nodes turned into placeholders, with everything
only they needed; control inputs. Every candidate is a whole graph without dangling inputs. Source:
Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.ir import DType, Graph, Node, Shape

Check = Callable[[Graph], bool]
"""Whether a graph still shows the failure."""
Cut = Callable[[Graph, Sequence[str]], "Graph | None"]


def reduce_graph(graph: Graph, fails: Check) -> Graph:
    """The smallest graph found for which ``fails`` answers yes, as it does for ``graph``.

    Args:
        graph: the graph to shrink; it is not changed.
        fails: called with each candidate; it decides, and may take its time.
    """
    while True:
        before = graph
        for cut, candidates in (
            (_without_dependents, _all_nodes),
            (_as_placeholders, _computed_nodes),
            (_without_controls, _waiting_nodes),
            (_without_functions, _function_names),
        ):
            graph = _shrink(graph, fails, cut, candidates)
        if graph is before:
            return graph


def _shrink(
    graph: Graph, fails: Check, cut: Cut, candidates: Callable[[Graph], list[str]]
) -> Graph:
    """Applies ``cut`` to groups of candidates, halving the groups down to single ones."""
    size = len(candidates(graph))
    while size:
        names = candidates(graph)
        for start in range(0, len(names), size):
            group = [name for name in names[start : start + size] if _has(graph, name)]
            smaller = cut(graph, group) if group else None
            if smaller is not None and len(smaller) and fails(smaller):
                graph = smaller
        size //= 2
    return graph


def _has(graph: Graph, name: str) -> bool:
    return name in graph or name in graph.functions


def _all_nodes(graph: Graph) -> list[str]:
    return list(graph.nodes)[::-1]


def _computed_nodes(graph: Graph) -> list[str]:
    return [name for name, node in graph.nodes.items() if node.inputs or node.control_inputs]


def _waiting_nodes(graph: Graph) -> list[str]:
    return [name for name, node in graph.nodes.items() if node.control_inputs]


def _function_names(graph: Graph) -> list[str]:
    return list(graph.functions)


def _without_dependents(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph without ``names`` and everything that reads them or waits for them."""
    gone, pending = set(names), list(names)
    while pending:
        name = pending.pop()
        for reader in (*graph.readers.get(name, ()), *graph.control_readers.get(name, ())):
            if reader not in gone:
                gone.add(reader)
                pending.append(reader)
    return _with(graph, (node for name, node in graph.nodes.items() if name not in gone))


def _as_placeholders(graph: Graph, names: Sequence[str]) -> Graph | None:
    """The graph with ``names`` fed from outside, without what nothing needs any more."""
    cut: dict[str, Node] = {}
    for name in names:
        dtype = ops.output_dtype(graph[name], 0) if ops.output_count(graph[name]) == 1 else None
        if dtype is not None and not dtype.is_ref and dtype is not DType.RESOURCE:
            attrs = MappingProxyType({"dtype": dtype, "shape": Shape(None)})
            cut[name] = Node(name, "Placeholder", attrs=attrs)
    if not cut:
        return None
    read = {*graph.readers, *graph.control_readers}
    nodes = {name: cut.get(name, node) for name, node in graph.nodes.items()}
    needed = {name for name in nodes if name not in read}
    pending = list(needed)
    while pending:
        node = nodes[pending.pop()]
        for source in (*(ref.node for ref in node.inputs), *node.control_inputs):
            if source not in needed:
                needed.add(source)
                pending.append(source)
    return _with(graph, (node for name, node in nodes.items() if name in needed))


def _without_controls(graph: Graph, names: Sequence[str]) -> Graph:
    chosen = frozenset(names)
    return _with(
        graph,
        (
            node.evolve(control_inputs=()) if name in chosen else node
            for name, node in graph.nodes.items()
        ),
    )


def _without_functions(graph: Graph, names: Sequence[str]) -> Graph:
    kept = {name: function for name, function in graph.functions.items() if name not in names}
    return replace(graph, functions=MappingProxyType(kept))


def _with(graph: Graph, nodes: Iterable[Node]) -> Graph:
    return replace(graph, nodes=MappingProxyType({node.name: node for node in nodes}))
