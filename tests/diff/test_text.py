"""Differences on a terminal: readable, the same every time, inert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphrev import api
from graphrev.api import diff
from tests.diff.golden import assert_golden
from tests.diff.graphs import HOSTILE, compared, hostile_pair


@pytest.mark.parametrize("context", [0, 1])
def test_text_is_the_golden_one(context: int) -> None:
    assert_golden(f"small-context{context}.txt", compared().to_text(context=context))


def test_json_is_the_golden_one() -> None:
    from graphrev.cli.diff import rendered

    assert_golden("small.json", rendered(compared(), "json", 1))


def test_colour_adds_escapes_and_nothing_else() -> None:
    coloured = compared().to_text(color=True)
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == compared().to_text()


def test_a_rewritten_block_is_told_with_pass_and_reason(fixtures: Path) -> None:
    path = fixtures / "summaries_and_head.meta.gz"
    text = diff(path, api.rewrite(path, "reversible")).to_text()
    assert "38 added, 17 changed" in text
    assert "@@ reversible · seen: recompute" in text
    assert "copy of block0/g/Tanh" in text


def test_hostile_names_reach_no_terminal() -> None:
    text = diff(*hostile_pair()).to_text(context=2)
    assert len(HOSTILE) >= 50
    assert all(char.isprintable() or char == "\n" for char in text)
    assert not any(line.startswith("\x1b") for line in text.splitlines())
    text.encode("utf-8")


def test_the_schema_page_names_every_key(fixtures: Path) -> None:
    path = fixtures / "summaries_and_head.meta.gz"
    page = (Path(__file__).parents[2] / "docs/diff-schema.md").read_text(encoding="utf-8")
    pending: list[object] = [
        compared().to_json(),
        diff(path, api.rewrite(path, "reversible")).to_json(),
    ]
    keys: set[str] = set()
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            keys.update(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    assert len(keys) > 25
    assert [key for key in sorted(keys) if f"`{key}`" not in page and f"{{{key}" not in page] == []
