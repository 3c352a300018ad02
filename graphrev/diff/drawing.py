"""A hunk as boxes and lines with places: what the SVG and the page draw.

Both sides share one layout of everything on either of them, so a node stands at the same place
left and right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from graphrev.diff.direction import backward_nodes
from graphrev.diff.graph_diff import GraphDiff, NodeChange
from graphrev.diff.hunks import Hunk
from graphrev.diff.layout import Layout, Point, layered
from graphrev.ir import Node

BEFORE, AFTER = 1, 2
"""Bits: on which sides a box or line is there."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node: ``change`` is ``None`` for context."""

    node: Node
    change: NodeChange | None
    sides: int
    backward: bool
    place: Point

    @property
    def status(self) -> str:
        """``added`` … or ``same``."""
        return self.change.status.value if self.change else "same"


@dataclass(frozen=True, slots=True)
class Line:
    """An edge between boxes; ``kind`` is ``data``, ``control`` (a trigger) or ``clone``."""

    source: int
    target: int
    kind: str
    sides: int
    bends: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and lines of a hunk; ``border`` is where the backward band begins."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    border: float | None
    width: float
    height: float


class Draftsman:
    """Draws the hunks of one difference; what it needs of the whole graph is found once."""

    def __init__(self, diff: GraphDiff) -> None:
        self._diff = diff
        self._moved = {c.before.name: c.name for c in diff.nodes if c.before is not None}

    @cached_property
    def _backward(self) -> frozenset[str]:
        before, after = self._diff.before.graph, self._diff.after.graph
        return backward_nodes(before) | backward_nodes(after)

    def draw(self, hunk: Hunk) -> Drawing:
        """Lays a hunk out."""
        members = list(self._members(hunk))
        ids = {(after or before).name: i for i, (before, after, _) in enumerate(members)}  # pyright: ignore[reportOptionalMemberAccess]
        edges = self._edges(members, ids)
        backward = [name in self._backward for name in ids]
        data = [edge[:2] for edge in edges if edge[2] == "data"]
        layout = layered(len(members), data, backward)
        boxes = tuple(
            Box(
                (after or before),  # pyright: ignore[reportArgumentType]
                change,
                (BEFORE if before else 0) | (AFTER if after else 0),
                backward[i],
                layout.places[i],
            )
            for i, (before, after, change) in enumerate(members)
        )
        return Drawing(
            boxes,
            tuple(_lines(edges, layout)),
            layout.border,
            layout.width,
            layout.height,
        )

    def _members(self, hunk: Hunk) -> Iterator[tuple[Node | None, Node | None, NodeChange | None]]:
        before, after = self._diff.before.graph.nodes, self._diff.after.graph.nodes
        for change in hunk.changes:
            yield change.before, change.after, change
        for name in hunk.context:
            yield before.get(name), after.get(name), None

    def _edges(
        self,
        members: list[tuple[Node | None, Node | None, NodeChange | None]],
        ids: dict[str, int],
    ) -> dict[tuple[int, int, str], int]:
        """Sides by (source, reader, kind)."""
        found: dict[tuple[int, int, str], int] = {}
        for target, (before, after, change) in enumerate(members):
            for node, side in ((before, BEFORE), (after, AFTER)):
                for name, kind in _sources(node):
                    moved = self._moved.get(name, name) if side == BEFORE else name
                    if moved in ids:
                        key = (ids[moved], target, kind)
                        found[key] = found.get(key, 0) | side
            origin = change.clone_of if change else None
            if origin in ids:
                found[(ids[origin], target, "clone")] = AFTER
        return found


def _sources(node: Node | None) -> Iterator[tuple[str, str]]:
    if node is not None:
        yield from ((ref.node, "data") for ref in node.inputs)
        yield from ((name, "control") for name in node.control_inputs)


def _lines(edges: dict[tuple[int, int, str], int], layout: Layout) -> Iterator[Line]:
    for (source, target, kind), sides in edges.items():
        bends = layout.bends.get((source, target), ()) if kind == "data" else ()
        yield Line(source, target, kind, sides, bends)
