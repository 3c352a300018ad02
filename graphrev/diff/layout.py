"""Layered layout of a small graph: rows follow the data, forward stands left of backward.

Rows by longest path over the data edges (an edge that would close a cycle is left out), long edges
through a bend point in every row, order within a row by barycentres, columns by averaging over
neighbours. Everything is linear in rows, nodes and edges but for sorting within a row. Source:
Sugiyama, Tagawa, Toda, "Methods for Visual Understanding of Hierarchical System Structures", 1981.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 148, 36
GAP, ROW_GAP, BAND_GAP = 14, 34, 36
_BEND = 8
_ROW = 3
"""Nodes side by side at most, in each band."""
_LONGEST = 12
"""Edges over more rows run straight, without bend points."""
_SWEEPS = 6

Edge = tuple[int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of nodes and bend points of edges.

    Attributes:
        places: upper left corner of each node.
        bends: points an edge passes between its ends, by edge.
        border: where the backward band begins; ``None`` when one band is empty.
        width, height: of everything.
    """

    places: tuple[Point, ...]
    bends: dict[Edge, tuple[Point, ...]]
    border: float | None
    width: float
    height: float


def layered(count: int, edges: Sequence[Edge], backward: Sequence[bool]) -> Layout:
    """Lays out nodes ``0 … count - 1``.

    Args:
        count: how many nodes.
        edges: data edges (source, reader); repeats and loops are allowed.
        backward: which band each node belongs to.
    """
    return _Sheet(count, edges, backward).layout()


class _Sheet:
    """The layout while it is made; ids from ``count`` on are bend points."""

    def __init__(self, count: int, edges: Sequence[Edge], backward: Sequence[bool]) -> None:
        self._count = count
        self._band = [int(flag) for flag in backward]
        unique = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1]))
        self._row, kept = _rows(count, unique)
        self._links: list[list[int]] = [[] for _ in range(count)]
        self._chains: dict[Edge, list[int]] = {}
        for edge in kept:
            self._link(edge)

    def layout(self) -> Layout:
        """The finished layout."""
        rows = self._ordered()
        rows = [part for row in rows for part in self._split(row)]
        x = self._columns(rows)
        left = [x[i] for i in range(len(x)) if not self._band[i]]
        right = [x[i] for i in range(len(x)) if self._band[i]]
        left_end = max(
            (x[i] + self._width(i) for i in range(len(x)) if not self._band[i]), default=0
        )
        shift = left_end + BAND_GAP if left else 0.0
        places: list[Point] = [(0.0, 0.0)] * len(x)
        for number, row in enumerate(rows):
            for node in row:
                across = x[node] + (shift if self._band[node] else 0.0)
                places[node] = (round(across, 1), float(number * (HEIGHT + ROW_GAP)))
        bends = {
            edge: tuple((places[i][0] + _BEND / 2, places[i][1] + HEIGHT / 2) for i in chain)
            for edge, chain in self._chains.items()
        }
        width = max((places[i][0] + self._width(i) for i in range(len(x))), default=0.0)
        height = max(len(rows) * (HEIGHT + ROW_GAP) - ROW_GAP, 0)
        border = shift - BAND_GAP / 2 if left and right else None
        return Layout(tuple(places[: self._count]), bends, border, width, float(height))

    def _width(self, node: int) -> int:
        return WIDTH if node < self._count else _BEND

    def _link(self, edge: Edge) -> None:
        """Ties two nodes, through a bend point in every row between."""
        source, reader = edge
        chain: list[int] = []
        if self._row[reader] - self._row[source] <= _LONGEST:
            for row in range(self._row[source] + 1, self._row[reader]):
                chain.append(len(self._row))
                self._row.append(row)
                self._band.append(self._band[reader])
                self._links.append([])
        if chain:
            self._chains[edge] = chain
        steps = [source, *chain, reader]
        for one, other in pairwise(steps):
            self._links[one].append(other)
            self._links[other].append(one)

    def _ordered(self) -> list[list[int]]:
        """Rows with their nodes from left to right."""
        rows: list[list[int]] = [[] for _ in range(max(self._row, default=-1) + 1)]
        for node, row in enumerate(self._row):
            rows[row].append(node)
        place: dict[int, float] = {}
        for row in rows:
            row.sort(key=lambda node: (self._band[node], node))
            place.update((node, at) for at, node in enumerate(row))
        for sweep in range(_SWEEPS):
            for row in rows if sweep % 2 == 0 else reversed(rows):
                row.sort(key=lambda node: (self._band[node], self._mean(node, place), place[node]))
                place.update((node, at) for at, node in enumerate(row))
        return rows

    def _mean(self, node: int, place: dict[int, float]) -> float:
        found = [place[other] for other in self._links[node]]
        return sum(found) / len(found) if found else place[node]

    def _split(self, row: list[int]) -> list[list[int]]:
        """A row with too many nodes in a band as several rows."""
        taken = [0, 0]
        parts: list[list[int]] = []
        for node in row:
            band = self._band[node]
            number = taken[band] // _ROW
            taken[band] += node < self._count
            while len(parts) <= number:
                parts.append([])
            parts[number].append(node)
        return parts

    def _columns(self, rows: list[list[int]]) -> list[float]:
        """Left edges within each band: near the neighbours, without overlap."""
        x = [0.0] * len(self._row)
        lanes = [[i for i in row if self._band[i] == band] for row in rows for band in (0, 1)]
        for lane in lanes:
            self._pack(lane, x, [0.0] * len(lane))
        for sweep in range(_SWEEPS):
            for lane in lanes if sweep % 2 == 0 else reversed(lanes):
                self._pack(lane, x, [self._wanted(node, x) for node in lane])
        for band in (0, 1):
            own = [lane for lane in lanes if lane and self._band[lane[0]] == band]
            self._squeeze(own, x)
        return x

    def _squeeze(self, lanes: list[list[int]], x: list[float]) -> None:
        """Moves a band's nodes into the width its fullest row needs, keeping their order."""
        room = max((sum(self._width(i) + GAP for i in lane) - GAP for lane in lanes), default=0)
        least = min((x[lane[0]] for lane in lanes), default=0.0)
        for lane in lanes:
            end = 0.0
            for node in lane:
                x[node] = max(x[node] - least, end)
                end = x[node] + self._width(node) + GAP
            limit = float(room)
            for node in reversed(lane):
                x[node] = min(x[node], limit - self._width(node))
                limit = x[node] - GAP

    def _wanted(self, node: int, x: list[float]) -> float:
        """Where the node would stand straight over and under its neighbours of the same band."""
        same = [i for i in self._links[node] if self._band[i] == self._band[node]]
        if not same:
            return x[node]
        return sum(x[i] + self._width(i) / 2 for i in same) / len(same) - self._width(node) / 2

    def _pack(self, lane: list[int], x: list[float], wanted: list[float]) -> None:
        """Places a row's nodes as near to where they want to be as their order and width allow."""
        end, moved = float("-inf"), 0.0
        for node, want in zip(lane, wanted):
            x[node] = max(want, end)
            moved += x[node] - want
            end = x[node] + self._width(node) + GAP
        if lane:
            for node in lane:
                x[node] -= moved / len(lane)


def _rows(count: int, edges: Sequence[Edge]) -> tuple[list[int], list[Edge]]:
    """Each node's row, and the edges that lead downwards."""
    readers: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, reader in edges:
        readers[source].append(reader)
        waiting[reader] += 1
    row, done = [0] * count, [False] * count
    # Nodes that nobody holds up first; then, where a cycle holds everybody up, the next in order.
    for start in (*(i for i in range(count) if not waiting[i]), *range(count)):
        ready = [] if done[start] else [start]
        while ready:
            node = ready.pop()
            done[node] = True
            for reader in readers[node]:
                waiting[reader] -= 1
                if not done[reader]:
                    row[reader] = max(row[reader], row[node] + 1)
                    if not waiting[reader]:
                        ready.append(reader)
    _lower_sources(row, edges)
    return row, [edge for edge in edges if row[edge[0]] < row[edge[1]]]


def _lower_sources(row: list[int], edges: Sequence[Edge]) -> None:
    """A node that reads nothing stands right above its first reader."""
    has_source = {reader for _, reader in edges}
    nearest: dict[int, int] = {}
    for source, reader in edges:
        if source not in has_source:
            nearest[source] = min(nearest.get(source, row[reader]), row[reader])
    for source, first in nearest.items():
        row[source] = max(0, first - 1)
