"""Nodes as integers, and an order in which every node comes after what it reads.

The order keeps the file's order wherever that is topological already, which it nearly always is.
The one edge that points backwards in a valid TensorFlow graph leads from a ``NextIteration`` to the
``Merge`` at the head of its loop (core/graph/validate.cc); it is left out of the order. Whatever
else reads or waits for a ``NextIteration`` comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphrev.errors import InvalidGraphError
from graphrev.ir.node import Node

_BACK_EDGE_OPS = frozenset({"NextIteration", "RefNextIteration"})
_LOOP_HEADS = frozenset({"Merge", "RefMerge"})


class CycleError(InvalidGraphError):
    """Nodes wait for each other outside any loop; ``nodes`` lists one cycle."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        shown = " -> ".join(repr(name) for name in (*nodes[:8], nodes[0]))
        super().__init__(
            f"The graph has a cycle outside any while loop: {shown}. Remove one of these edges."
        )
        self.nodes = nodes


@dataclass(frozen=True, eq=False)
class GraphIndex:
    """A graph's edges as integers.

    Attributes:
        names: node names; a node's id is its place here (the file's order).
        ids: the id of each name.
        data_inputs: for each id the ids it reads, in input order.
        control_inputs: for each id the ids it waits for.
        order: all ids, each after everything it reads or waits for (loops opened).
    """

    names: tuple[str, ...]
    ids: Mapping[str, int]
    data_inputs: Sequence[tuple[int, ...]]
    control_inputs: Sequence[tuple[int, ...]]
    order: Sequence[int]

    @classmethod
    def of(cls, nodes: Mapping[str, Node]) -> GraphIndex:
        """The index of ``nodes``, whose inputs must all exist.

        Raises:
            CycleError: there is a cycle that no loop accounts for.
            KeyError: an input names a node that does not exist.
        """
        names = tuple(nodes)
        ids = {name: number for number, name in enumerate(names)}
        data: list[tuple[int, ...]] = []
        control: list[tuple[int, ...]] = []
        for node in nodes.values():
            data.append(tuple([ids[ref.node] for ref in node.inputs]))
            control.append(tuple([ids[source] for source in node.control_inputs]))
        back = frozenset(ids[name] for name, n in nodes.items() if n.op in _BACK_EDGE_OPS)
        sources = list(map(tuple.__add__, data, control))
        for number, node in enumerate(nodes.values() if back else ()):
            if node.op in _LOOP_HEADS:
                forward = tuple(source for source in data[number] if source not in back)
                sources[number] = forward + control[number]
        return cls(names, ids, data, control, _order(names, sources))


def _order(names: tuple[str, ...], sources: Sequence[tuple[int, ...]]) -> Sequence[int]:
    if all(max(listed, default=-1) < number for number, listed in enumerate(sources)):
        return range(len(names))
    order: list[int] = []
    state = bytearray(len(names))
    for start in range(len(names)):
        if not state[start]:
            _visit(start, names, sources, state, order)
    return order


_OPEN, _DONE = 1, 2


def _visit(
    start: int,
    names: tuple[str, ...],
    sources: Sequence[tuple[int, ...]],
    state: bytearray,
    order: list[int],
) -> None:
    """Appends ``start`` to ``order`` behind everything it reads (depth first, iteratively)."""
    state[start] = _OPEN
    path: list[tuple[int, Iterator[int]]] = [(start, iter(sources[start]))]
    while path:
        number, rest = path[-1]
        for source in rest:
            if state[source] == _DONE:
                continue
            if state[source] == _OPEN:
                cycle = [step for step, _ in path]
                raise CycleError(tuple(names[i] for i in cycle[cycle.index(source) :]))
            state[source] = _OPEN
            path.append((source, iter(sources[source])))
            break
        else:
            state[number] = _DONE
            order.append(number)
            path.pop()
