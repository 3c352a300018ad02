"""SVG pictures: well-formed, the same every time, inert."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from graphrev import api
from graphrev.api import diff
from tests.diff.golden import assert_golden
from tests.diff.graphs import compared, hostile_pair, small

_SVG = "{http://www.w3.org/2000/svg}"
_KNOWN = {"svg", "style", "defs", "marker", "rect", "g", "text", "path", "line"}


def test_svg_is_the_golden_one() -> None:
    assert_golden("small.svg", compared().to_svg())


def test_equal_graphs_are_said_to_be_equal() -> None:
    assert "Nothing differs" in diff(small(), small()).to_svg()


def test_a_node_stands_at_the_same_place_on_both_sides(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    root = ElementTree.fromstring(diff(path, api.rewrite(path, "reversible")).to_svg())
    both = 0
    for hunk in root.findall(f"{_SVG}g"):
        sides = [
            {n.get("data-n"): n.get("transform") for n in pane.iter() if n.get("data-n")}
            for pane in hunk.findall(f"{_SVG}g")
        ]
        assert len(sides) == 2
        both += len(sides[0].keys() & sides[1].keys())
        assert all(sides[0][n] == sides[1][n] for n in sides[0].keys() & sides[1].keys())
    assert both > 50


def test_copies_triggers_and_both_passes_are_drawn(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    svg = diff(path, api.rewrite(path, "reversible")).to_svg()
    for part in ('class="e clone"', 'class="e control"', ">forward<", ">backward<", "n added bwd"):
        assert part in svg


def test_hostile_names_add_no_element_and_no_handler() -> None:
    svg = diff(*hostile_pair()).to_svg(context=2)
    root = ElementTree.fromstring(svg.encode("utf-8"))
    for element in root.iter():
        assert element.tag.removeprefix(_SVG) in _KNOWN
        assert not any(key.startswith("on") or "href" in key for key in element.attrib)
