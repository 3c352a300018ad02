"""Changes in groups that can be looked at one at a time, with what is around them.

Changes with a cause go together by cause (one half of one block, one kernel). The others go
together by name scope: a scope with few enough changes is a hunk, a fuller one is split at the next
component of the names, and small neighbours share a hunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphrev.diff.graph_diff import GraphDiff, NodeChange, Status
from graphrev.edits import Cause
from graphrev.ir import Graph, Node

LARGEST = 40
"""Changes in a hunk at most."""
_DEEPEST = 32
_CONTEXT = 24
"""Unchanged nodes in a hunk at most."""
_TRIGGERS = 4
"""Nodes waited for that a node brings along at most."""
_FEW = 5
"""Changes in a hunk up to which what reads a changed node is shown."""
_BUSY = 16
"""A node that more nodes read (a constant, a learning rate) brings none of them along."""


@dataclass(frozen=True)
class Hunk:
    """A group of changes.

    Attributes:
        title: the block, kernel or scope it is about.
        cause: why, where the log says so.
        changes: its changes, in the order of the graph.
        context: unchanged nodes around them, by name, in the order of the graph.
    """

    title: str
    cause: Cause | None
    changes: tuple[NodeChange, ...]
    context: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many changes there are of each status, without zeros."""
        found = {status.value: 0 for status in Status}
        for change in self.changes:
            found[change.status.value] += 1
        return {key: count for key, count in found.items() if count}


def hunks_of(diff: GraphDiff, context: int = 1) -> list[Hunk]:
    """All hunks of a difference.

    Args:
        diff: the difference.
        context: how many edges away from a change unchanged nodes are taken along.
    """
    around = _Surroundings(diff)
    found: list[Hunk] = []
    for title, cause, changes in _groups(diff):
        ordered = tuple(sorted(changes, key=around.place_of_change))
        found.append(Hunk(title, cause, ordered, around.context(ordered, context)))
    return found


_Group = tuple[str, "Cause | None", Sequence[NodeChange]]


def _groups(diff: GraphDiff) -> Iterator[_Group]:
    explained: dict[Cause, list[NodeChange]] = {}
    if diff.run is not None:
        explained = {edit.cause: [] for edit in diff.run.edits}
    others: list[NodeChange] = []
    for change in diff.nodes:
        group = explained.setdefault(change.why[0], []) if change.why else others
        group.append(change)
    for cause, changes in explained.items():
        for title, part in _parts(changes, 0):
            yield cause.subject or title, cause, part
    for title, part in _parts(others, 0):
        yield title, None, part


def _parts(changes: Sequence[NodeChange], depth: int) -> Iterator[tuple[str, Sequence[NodeChange]]]:
    """Changes that share the first ``depth`` components, in parts of at most ``LARGEST``."""
    if not changes:
        return
    if len(changes) <= LARGEST:
        yield _common_scope(changes), changes
        return
    if depth >= _DEEPEST:
        yield from _chunks(changes)
        return
    small: list[NodeChange] = []
    for children in _children(changes, depth):
        if len(small) + len(children) > LARGEST and small:
            yield _common_scope(small), small
            small = []
        if len(children) > LARGEST:
            is_leaf = len({change.name.split("/", depth + 1)[depth] for change in children}) > 1
            yield from _chunks(children) if is_leaf else _parts(children, depth + 1)
        else:
            small.extend(children)
    if small:
        yield _common_scope(small), small


def _children(changes: Sequence[NodeChange], depth: int) -> list[list[NodeChange]]:
    """Changes by the component at ``depth``; nodes that end there are one group together."""
    found: dict[str | None, list[NodeChange]] = {}
    for change in changes:
        parts = change.name.split("/", depth + 1)
        found.setdefault(parts[depth] if len(parts) > depth + 1 else None, []).append(change)
    return list(found.values())


def _chunks(changes: Sequence[NodeChange]) -> Iterator[tuple[str, Sequence[NodeChange]]]:
    for start in range(0, len(changes), LARGEST):
        part = changes[start : start + LARGEST]
        yield _common_scope(part), part


def _common_scope(changes: Sequence[NodeChange]) -> str:
    common = changes[0].name.split("/", _DEEPEST)[:-1]
    for change in changes:
        parts = change.name.split("/", _DEEPEST)[:-1]
        same = 0
        while same < min(len(common), len(parts)) and common[same] == parts[same]:
            same += 1
        common = common[:same]
    return "/".join(common) or "(top level)"


class _Surroundings:
    """Finds unchanged neighbours, and the order of everything."""

    def __init__(self, diff: GraphDiff) -> None:
        self._before, self._after = diff.before.graph, diff.after.graph
        self._old_places, self._new_places = diff.before.places, diff.after.places
        self._changed = {change.name for change in diff.nodes}
        self._changed |= {c.before.name for c in diff.nodes if c.before is not None}

    @cached_property
    def _places(self) -> dict[str, int]:
        """Places in the second graph; nodes that were removed stand where they stood."""
        return {**self._old_places, **self._new_places}

    def place_of_change(self, change: NodeChange) -> tuple[int, str]:
        """Where a change belongs."""
        return (self._places.get(change.name, 0), change.name)

    def context(self, changes: Iterable[NodeChange], distance: int) -> tuple[str, ...]:
        """Unchanged nodes within ``distance`` edges of ``changes``: sources before readers."""
        found: dict[str, None] = {}
        frontier = list(changes)
        nodes = [(c.before, c.after) for c in frontier]
        moved = [(c.before, c.after) for c in frontier if c.status is not Status.CHANGED]
        # What reads a node that merely reads something else is not news, unless there is room.
        read = nodes if len(nodes) <= _FEW else moved
        if distance > 0:
            origins = (c.clone_of for c in frontier if c.clone_of is not None)
            found.update((name, None) for name in origins if self._is_context(name))
        for _ in range(distance):
            near = list(dict.fromkeys([*self._sources(nodes), *self._readers(read)]))
            near = [name for name in near if name not in found and self._is_context(name)]
            near = near[: max(0, _CONTEXT - len(found))]
            found.update((name, None) for name in near)
            nodes = [(self._before.nodes.get(name), self._after.nodes.get(name)) for name in near]
            read = nodes
        kept = list(found)[:_CONTEXT]
        return tuple(sorted(kept, key=lambda name: self._places.get(name, 0)))

    def _is_context(self, name: str) -> bool:
        return name not in self._changed and (name in self._after or name in self._before)

    def _sources(self, nodes: Iterable[tuple[Node | None, Node | None]]) -> Iterator[str]:
        for pair in nodes:
            for node in pair:
                if node is not None:
                    yield from (ref.node for ref in node.inputs)
                    yield from node.control_inputs[:_TRIGGERS]

    def _readers(self, nodes: Iterable[tuple[Node | None, Node | None]]) -> Iterator[str]:
        for before, after in nodes:
            for graph, node in ((self._before, before), (self._after, after)):
                if node is not None:
                    yield from _few_readers(graph, node.name)


def _few_readers(graph: Graph, name: str) -> tuple[str, ...]:
    readers = graph.readers.get(name, ())
    return readers if len(readers) <= _BUSY else ()
