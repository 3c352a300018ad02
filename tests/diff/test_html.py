"""The page: self-contained, inert, and it says what was done."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphrev import api
from graphrev.api import diff
from tests.diff.graphs import HOSTILE, compared, hostile_pair, small


class _Page(HTMLParser):
    """Collects elements, attributes and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in self.raw and self.cdata_elem:
            self.raw[self.tags[-1]][-1] += data
        else:
            self.words.append(data)


def data_of(page: str) -> dict[str, Any]:
    kind, content = re.findall(r'<script id="data" type="([^"]+)">(.*?)</script>', page, re.S)[0]
    if kind == "application/json":
        return json.loads(content)
    return json.loads(gzip.decompress(base64.b64decode(content)))


def test_the_policy_allows_the_page_itself_and_nothing_else() -> None:
    text = compared().to_html()
    page = _Page(text)
    policy = next(v for k, v in page.attributes if k == "content" and v and "default-src" in v)
    assert "default-src 'none'" in policy
    script, style = page.raw["script"][-1], page.raw["style"][0]
    for kind, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_loaded_from_anywhere() -> None:
    page = _Page(compared().to_html())
    loading = {"src", "href", "srcset", "action", "data", "style", "background", "poster"}
    assert not [key for key, _ in page.attributes if key in loading or key.startswith("on")]
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.findall(
        r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z]", "".join(page.raw["script"])
    )


def test_the_page_is_the_same_every_time() -> None:
    assert compared().to_html() == compared().to_html()


def test_the_data_holds_every_change_with_its_reason(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    found = diff(path, api.rewrite(path, "reversible"))
    data = data_of(found.to_html())
    whole = data["views"][-1]
    boxes = [box for hunk in data["hunks"][slice(*whole["hunks"])] for box in hunk["n"]]
    changes = {box[0]: box for box in boxes if box[2] != "same"}
    assert set(changes) == {change.name for change in found.nodes}
    assert all("reversible" in box[9][0] for box in changes.values())
    assert len(data["names"]) == len(found.after.graph)


def test_the_story_is_told_in_domain_words(fixtures: Path) -> None:
    path = fixtures / "near_misses.meta.gz"
    page = _Page(diff(path, api.rewrite(path, "reversible")).to_html())
    words = " ".join(" ".join(page.words).split())
    assert "Pass reversible" in words
    assert "Left alone" in words and "What to do:" in words
    assert "Memory of a step (predicted)" in words


def test_blocks_and_freed_bytes_are_on_top(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    words = " ".join(_Page(diff(path, api.rewrite(path, "reversible")).to_html()).words)
    for told in ("stage0/block0", "memory freed", "459 kB", "820 kB", "647 kB"):
        assert told in words


def test_there_is_a_view_for_each_pass_of_a_run(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    result = api.rewrite(path, ["reversible{detect=marked}", "reversible{detect=structural}"])
    views = data_of(diff(path, result).to_html())["views"]
    assert [view["title"] for view in views] == ["1. reversible", "2. reversible", "the whole run"]
    assert views[0]["hunks"] == views[2]["hunks"]
    assert views[1]["hunks"][0] == views[1]["hunks"][1]


def test_equal_graphs_make_a_page_that_says_so() -> None:
    assert "Nothing differs." in diff(small(), small()).to_html()


def test_hostile_names_are_inert() -> None:
    plain, hostile = _Page(compared().to_html()), _Page(diff(*hostile_pair()).to_html(context=2))
    assert len(HOSTILE) >= 50
    assert set(hostile.tags) <= {
        *plain.tags,
        "details",
        "summary",
        "code",
        "small",
        "pre",
        "ul",
        "li",
    }
    assert hostile.tags.count("script") == plain.tags.count("script") == 2
    assert not [key for key, _ in hostile.attributes if key.startswith("on")]
    assert hostile.raw["script"][-1] == plain.raw["script"][-1]


def test_hostile_names_arrive_spelled_out() -> None:
    page = diff(*hostile_pair()).to_html()
    page.encode("utf-8")
    data = data_of(page)
    for text in (*data["names"], *data["ops"]):
        assert all(char.isprintable() for char in text), ascii(text)
    assert all(char.isprintable() or char == "\n" for char in page)


def test_what_newly_crosses_devices_is_on_the_page(fixtures: Path) -> None:
    path = fixtures / "devices.meta.gz"
    found = diff(path, api.rewrite(path, "reversible{detect=structural}"))
    assert "Newly crosses devices" not in found.to_html()
    assert found.run is not None
    after = found.run.after
    name = next(name for name in after.nodes if name not in found.run.before.nodes)
    moved = {**after.nodes, name: after[name].evolve(device="/job:elsewhere/task:7")}
    run = replace(found.run, after=replace(after, nodes=MappingProxyType(moved)))
    words = _Page(replace(found, run=run).to_html()).words
    assert "Newly crosses devices" in words
    assert str(after[name].inputs[0]) in words and "/job:elsewhere/task:7" in words


def test_each_line_of_the_verification_is_a_line_of_the_page() -> None:
    text = compared().to_html(verification="verification: numeric: differs\n  since pass 1")
    words = [word.strip() for word in _Page(text).words]
    assert "verification: numeric: differs" in words and "since pass 1" in words
