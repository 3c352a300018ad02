"""Counts of changes per name scope (``a/b`` holds what is under ``a/b/``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphrev.diff.graph_diff import NodeChange, Status

_DEEPEST = 32
"""Scopes nested deeper count in the scope at this depth: a hostile name has thousands."""


def scopes_of(name: str) -> Iterator[str]:
    """The scopes a node lies in, outermost first, without the root."""
    at = name.find("/")
    for _ in range(_DEEPEST):
        if at < 0:
            return
        if at:
            yield name[:at]
        at = name.find("/", at + 1)


def scope_counts(changes: Iterable[NodeChange]) -> dict[str, dict[str, int]]:
    """Added, removed, changed and renamed nodes per scope that has any, sorted; ``""`` is all."""
    found: dict[str, dict[str, int]] = {}
    for change in changes:
        for scope in ("", *scopes_of(change.name)):
            counts = found.setdefault(scope, {status.value: 0 for status in Status})
            counts[change.status.value] += 1
    return dict(sorted(found.items(), key=lambda item: item[0].split("/") if item[0] else []))
