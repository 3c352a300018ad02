"""Large pairs: how large a page is, that making it is linear, and that it answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from graphrev.api import diff
from tools.bench.diff import ACTIONS, large_pair
from tools.webdriver import browser, chromium

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("total", "size"), [(5_000, 1_000_000), (50_000, 5_000_000)])
@pytest.mark.parametrize("flat", [False, True])
def test_a_page_stays_small(total: int, size: int, flat: bool) -> None:
    assert len(diff(*large_pair(total, flat=flat)).to_html()) <= size


@pytest.mark.parametrize("flat", [False, True])
def test_time_grows_with_the_graph_and_not_faster(flat: bool) -> None:
    def seconds(total: int) -> float:
        pair = large_pair(total, flat=flat)
        start = time.process_time()
        diff(*pair).to_html()
        return time.process_time() - start

    small = min(seconds(5_000) for _ in range(3))
    assert min(seconds(50_000) for _ in range(2)) < 30 * small


@pytest.mark.skipif(
    chromium() is None, reason="no Chromium: apt-get install chromium chromium-driver"
)
def test_a_large_page_answers(tmp_path: Path) -> None:
    file = tmp_path / "large.html"
    file.write_text(diff(*large_pair(50_000, flat=False)).to_html(), encoding="utf-8")
    with browser() as page:
        page.open(file)
        for action in ACTIONS:
            page.run(action)
        assert page.log("browser") == []
