"""The page in a real browser: it draws, searches, slides and clicks, and asks the network nothing.

Screenshots are kept in the folder that ``GRAPHREV_SCREENSHOTS`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphrev import api
from graphrev.api import diff
from tests.diff.graphs import hostile_pair
from tools.webdriver import Browser, browser, chromium

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Path:
    path = fixtures / "revnet.meta.gz"
    result = api.rewrite(path, ["reversible", "reversible{detect=structural}"])
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(diff(path, result).to_html(), encoding="utf-8")
    return file


def _shot(page: Browser, name: str) -> None:
    folder = os.environ.get("GRAPHREV_SCREENSHOTS")
    if folder:
        page.screenshot(Path(folder) / f"{name}.png")


def _assert_quiet(page: Browser) -> None:
    """No console message, and no request but for the file itself and what it made."""
    assert page.log("browser") == []
    assert [url for url in page.requests() if not url.startswith(("file:", "data:", "blob:"))] == []


def test_hunks_are_drawn_side_by_side(page: Browser, report: Path) -> None:
    page.open(report)
    _shot(page, "report-top")
    assert page.run("return document.querySelectorAll('.hunk').length") == 10
    page.run("document.querySelector('.hunk').scrollIntoView()")
    page.wait("document.querySelectorAll('.hunk .pane').length >= 2")
    page.wait("document.querySelectorAll('.pane .n.added').length")
    assert page.run("return document.querySelectorAll('.pane path.clone').length") > 0
    assert page.run("return document.querySelectorAll('.pane path.control').length") > 0
    _shot(page, "report-hunk")
    _assert_quiet(page)


def test_a_click_tells_what_differs_and_why(page: Browser, report: Path) -> None:
    page.open(report)
    page.keys("j")
    page.wait("document.querySelector('.hunk.here .pane .n.changed')")
    page.run(
        "document.querySelector('.hunk.here .pane:last-child .n.changed')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    told = page.run("return document.getElementById('detail').innerText")
    assert "reversible · stage" in told and "input[" in told and "backward" in told
    lit = page.run("return [...document.querySelectorAll('.hunk.here .n.on')].length")
    assert lit == 2
    _shot(page, "report-detail")
    page.keys("\ue00c")
    assert page.run("return document.getElementById('detail').hidden")
    _assert_quiet(page)


def test_hover_lights_both_sides_and_the_original(page: Browser, report: Path) -> None:
    page.open(report)
    page.keys("j")
    page.wait("document.querySelector('.hunk.here .pane path.clone')")
    page.run("""
        const edge = document.querySelector('.hunk.here .pane path.clone');
        const node = edge.ownerSVGElement.querySelector(`[data-n="${edge.dataset.b}"]`);
        node.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));""")
    assert page.run("return document.querySelectorAll('.hunk.here .n.hot').length") == 3
    assert page.run("return document.querySelectorAll('.hunk.here path.hot').length") > 1


@pytest.mark.parametrize(
    ("query", "expected"), [("op:relugrad", 10), ("/Relu$/", 20), ("no such node", 0)]
)
def test_search_finds_nodes(page: Browser, report: Path, query: str, expected: int) -> None:
    page.open(report)
    page.keys("/")
    page.keys(query)
    page.wait(f"document.getElementById('found').innerText.startsWith('{expected} nodes')")
    page.keys("\ue007")
    assert page.run("return document.getElementById('detail').hidden") == (not expected)
    _assert_quiet(page)


def test_a_search_that_is_no_expression_says_so(page: Browser, report: Path) -> None:
    page.open(report)
    page.keys("/")
    page.keys("/(/")
    page.wait("document.getElementById('found').innerText.includes('not a regular')")
    _assert_quiet(page)


def test_the_slider_goes_through_the_passes(page: Browser, report: Path) -> None:
    page.open(report)
    assert page.run("return document.getElementById('pass').max") == "2"
    seen = []
    for _ in range(2):
        page.keys("[")
        seen.append(page.run("return [which.innerText, document.querySelectorAll('.hunk').length]"))
    assert "2. reversible" in seen[0][0] and seen[0][1] == 0
    assert "1. reversible" in seen[1][0] and seen[1][1] == 10
    page.run("document.getElementById('explorer').scrollIntoView()")
    _shot(page, "report-slider")
    _assert_quiet(page)


def test_scopes_are_a_tree_that_filters(page: Browser, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#tree .kids .kids .twist').click()")
    assert page.run("return document.querySelectorAll('#tree .row').length") > 3
    page.run(
        "[...document.querySelectorAll('#tree .row')]"
        ".find((row) => row.innerText.includes('stage1')).click()"
    )
    assert 0 < page.run("return document.querySelectorAll('.hunk').length") < 10
    _assert_quiet(page)


def test_text_dark_and_export(page: Browser, report: Path) -> None:
    page.open(report)
    page.keys("jd")
    _shot(page, "report-dark")
    page.run(
        "window.saved = []; URL.createObjectURL = (b) => { b.text().then((t) => saved.push(t));"
        " return '#'; }; HTMLAnchorElement.prototype.click = () => {};"
    )
    page.run("document.querySelectorAll('.hunk.here h3 button').forEach((b) => b.click())")
    page.wait("document.querySelector('.hunk.here pre')")
    page.wait("saved.length")
    from xml.etree import ElementTree

    root = ElementTree.fromstring(page.run("return saved[0]"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert sum("data-n" in element.attrib for element in root.iter()) > 10
    assert page.log("browser") == []


def test_keys_alone_reach_the_tree_and_the_nodes(page: Browser, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#tree .row').focus()")
    down, right, enter = "\ue015", "\ue014", "\ue007"
    page.keys(down + down + right)
    assert page.run("return document.activeElement.innerText").startswith("▾")
    page.keys(enter)
    assert 0 < page.run("return document.querySelectorAll('.hunk').length") < 10
    assert page.run("return document.querySelectorAll('#tree [aria-selected=true]').length") == 1
    page.keys("j")
    page.wait("document.querySelector('.hunk.here .pane .n')")
    page.run("document.querySelector('.hunk.here .pane .n').focus()")
    page.keys(enter)
    assert not page.run("return document.getElementById('detail').hidden")
    page.keys("\ue00c?")
    assert page.run("return document.getElementById('detail').hidden")
    assert not page.run("return document.getElementById('hint').hidden")
    _assert_quiet(page)


def test_a_hunk_fits_into_its_pane_on_demand(page: Browser, report: Path) -> None:
    page.open(report)
    page.keys("j")
    page.wait("document.querySelector('.hunk.here .pane svg')")
    width = "return document.querySelector('.hunk.here .pane').%s"
    assert page.run(width % "scrollWidth") > page.run(width % "clientWidth")
    page.keys("f")
    assert page.run(width % "scrollWidth") <= page.run(width % "clientWidth") + 1
    assert page.run("return fit.getAttribute('aria-pressed')") == "true"
    _shot(page, "report-fit")
    _assert_quiet(page)


def test_a_page_is_printed_light_and_opened(page: Browser, fixtures: Path, tmp_path: Path) -> None:
    path = fixtures / "near_misses.meta.gz"
    file = tmp_path / "refused.html"
    file.write_text(diff(path, api.rewrite(path, "reversible")).to_html(), encoding="utf-8")
    page.open(file)
    page.run("theme('dark'); dispatchEvent(new Event('beforeprint'))")
    assert page.run("return document.documentElement.dataset.theme") == "light"
    assert page.run("return document.querySelectorAll('details.refused:not([open])').length") == 0
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run("return document.documentElement.dataset.theme") == "dark"
    page.run("theme('light')")
    _shot(page, "report-refused")
    _assert_quiet(page)


def test_hostile_names_do_nothing(page: Browser, tmp_path: Path) -> None:
    file = tmp_path / "hostile.html"
    file.write_text(diff(*hostile_pair()).to_html(context=2), encoding="utf-8")
    page.open(file)
    page.run("window.alert = () => { window.harmed = true; }")
    page.run("document.querySelectorAll('.hunk').forEach((h) => { h.scrollIntoView(); })")
    for _ in range(8):
        page.keys("j")
    page.run(
        "document.querySelectorAll('.pane .n').forEach((n) => "
        "n.dispatchEvent(new MouseEvent('click', {bubbles: true})))"
    )
    page.keys("/")
    page.keys("script")
    page.wait("document.querySelectorAll('#found li').length > 1")
    assert not page.run("return window.harmed")
    assert page.run("return document.scripts.length") == 2
    _shot(page, "hostile")
    _assert_quiet(page)
