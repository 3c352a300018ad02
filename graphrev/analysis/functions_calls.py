"""Who calls which function of the library, and what is wrong with that.

A function is called through an attribute (``While`` has ``cond`` and ``body``, ``PartitionedCall``
has ``f``), or by a node whose op type is the function's name (``Defun`` of TensorFlow 1). Linear in
the graph and its library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphrev.analysis.frames_loops import Fault
from graphrev.ir import AttrValue, FunctionRef, Graph, Node

LOOPS = frozenset({"While", "StatelessWhile"})
BRANCHES = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "Case": ("branches",),
    "StatelessCase": ("branches",),
}
"""Functional branches, and the attributes that list what they run."""
CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
FUNCTIONAL = LOOPS | frozenset(BRANCHES) | CALLS

MAIN = ""
"""Stands for the graph itself, outside all functions."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place that calls a function: a node, and the function it lies in (or :data:`MAIN`)."""

    inside: str
    node: str


@dataclass(frozen=True, eq=False)
class Calls:
    """The calls of a graph and its library.

    Attributes:
        sites: for each function that is called anywhere the places that call it.
        called: for each function what its body calls.
        reached: the functions that the graph's own nodes reach.
        faults: functions that are missing, or that call themselves.
        broken: the functions that ``faults`` are about, and everything that calls one of them.
        order: the functions and the graph (:data:`MAIN`), each after what it calls.
    """

    sites: Mapping[str, tuple[Site, ...]]
    called: Mapping[str, tuple[str, ...]]
    reached: frozenset[str]
    faults: tuple[Fault, ...]
    broken: frozenset[str]
    order: tuple[str, ...]


def functions_in(value: AttrValue | None) -> Iterator[str]:
    """The functions that an attribute names."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, FunctionRef):
            yield item.name


def called_by(node: Node, graph: Graph) -> Iterator[str]:
    """The functions a node calls."""
    if node.op in graph.functions:
        yield node.op
    for value in node.attrs.values():
        yield from functions_in(value)


def nodes_run(graph: Graph, nodes: Iterable[Node]) -> Iterator[Node]:
    """``nodes``, and every node of the functions they call, each function once.

    Functions that are missing from the library are passed over.
    """
    pending = list(nodes)
    seen: set[str] = set()
    while pending:
        node = pending.pop()
        yield node
        for called in called_by(node, graph):
            if called not in seen and called in graph.functions:
                seen.add(called)
                pending.extend(graph.functions[called].nodes.values())


def find_calls(graph: Graph) -> Calls:
    """The calls of ``graph`` and its library."""
    sites: dict[str, list[Site]] = {}
    called: dict[str, tuple[str, ...]] = {}
    bodies = ((MAIN, graph.nodes), *((n, f.nodes) for n, f in graph.functions.items()))
    for inside, nodes in bodies:
        own: dict[str, None] = {}
        for name, node in nodes.items():
            for function in called_by(node, graph):
                sites.setdefault(function, []).append(Site(inside, name))
                own[function] = None
        called[inside] = tuple(own)
    faults = [*_missing(graph, sites)]
    order, loops = _depth_first(called)
    faults += [_recursion(sites, ring) for ring in loops]
    broken = {name for name in sites if name not in graph.functions}
    broken.update(name for ring in loops for name in ring)
    for name in order:  # what is called comes before what calls it
        if name != MAIN and not broken.isdisjoint(called.get(name, ())):
            broken.add(name)
    return Calls(
        {name: tuple(listed) for name, listed in sites.items()},
        called,
        _reached(called, MAIN),
        tuple(faults),
        frozenset(broken),
        tuple(order),
    )


def _missing(graph: Graph, sites: Mapping[str, list[Site]]) -> Iterator[Fault]:
    for name, listed in sites.items():
        if name not in graph.functions:
            where = tuple(dict.fromkeys(site.node for site in listed))
            yield Fault(f"'{where[0]}' calls '{name}', which is not in the library.", where)


def _recursion(sites: Mapping[str, list[Site]], ring: tuple[str, ...]) -> Fault:
    inside = set(ring)
    where = [s.node for name in ring for s in sites[name] if s.inside in inside]
    way = " -> ".join(f"'{name}'" for name in (*ring[:6], ring[0]))
    return Fault(f"Function '{ring[0]}' calls itself: {way}.", tuple(dict.fromkeys(where)))


def _depth_first(
    called: Mapping[str, tuple[str, ...]],
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Names after everything they call, and the rings met on the way (iteratively)."""
    order: list[str] = []
    rings: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in called:
        path: list[tuple[str, Iterator[str]]] = []
        place: dict[str, int] = {}
        if start not in done:
            path, place = [(start, iter(called[start]))], {start: 0}
        while path:
            name, rest = path[-1]
            following = next((f for f in rest if f not in done), None)
            if following is None:
                path.pop()
                del place[name]
                done.add(name)
                order.append(name)
            elif following in place:
                rings.append(tuple(step for step, _ in path[place[following] :]))
            else:
                place[following] = len(path)
                path.append((following, iter(called.get(following, ()))))
    return order, rings


def _reached(called: Mapping[str, tuple[str, ...]], start: str) -> frozenset[str]:
    seen, pending = set[str](), [start]
    while pending:
        for name in called.get(pending.pop(), ()):
            if name not in seen:
                seen.add(name)
                pending.append(name)
    return frozenset(seen)
