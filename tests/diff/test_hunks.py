"""Hunks hold every change once, and not too many of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphrev import api
from graphrev.api import diff
from graphrev.diff.hunks import LARGEST, hunks_of
from graphrev.ir import Graph
from tests.diff.graphs import HOSTILE, compared, hostile_pair, node


@pytest.mark.parametrize("scopes", ["a/b{n}/c", "{n}", "s/{n}", "/".join("abc" * 30) + "/{n}"])
def test_every_change_is_in_exactly_one_hunk(scopes: str) -> None:
    nodes = [node(scopes.format(n=n // 7) + f"_{n}", "NoOp") for n in range(500)]
    found = diff(Graph.of([]), Graph.of(nodes))
    hunks = hunks_of(found)
    names = [change.name for hunk in hunks for change in hunk.changes]
    assert sorted(names) == sorted(n.name for n in nodes)
    assert max(len(hunk.changes) for hunk in hunks) <= LARGEST


def test_hostile_names_are_in_hunks_too() -> None:
    found = diff(*hostile_pair())
    assert sum(len(hunk.changes) for hunk in hunks_of(found)) == len(found.nodes) >= len(HOSTILE)


def test_a_hunk_per_half_of_a_block(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    result = api.rewrite(path, "reversible")
    hunks = hunks_of(diff(path, result))
    causes = {edit.cause for edit in result.edits}
    assert {hunk.cause for hunk in hunks} == causes


def test_context_grows_with_the_distance_and_holds_no_change() -> None:
    found = compared()
    sizes = [sum(len(hunk.context) for hunk in hunks_of(found, n)) for n in range(3)]
    assert sizes[0] == 0 < sizes[1] <= sizes[2]
    changes = {change.name for change in found.nodes}
    assert not changes & {name for hunk in hunks_of(found, 2) for name in hunk.context}
