"""Layouts have no overlaps, follow the data and keep the two passes apart."""

from __future__ import annotations

import random

import pytest

from graphrev.diff.layout import HEIGHT, WIDTH, layered


@pytest.mark.parametrize("seed", range(20))
def test_boxes_do_not_overlap_and_bands_stay_apart(seed: int) -> None:
    random_ = random.Random(seed)
    count = random_.randrange(2, 60)
    edges = [tuple(sorted(random_.sample(range(count), 2))) for _ in range(count * 2)]
    backward = [random_.random() < 0.5 for _ in range(count)]
    layout = layered(count, [(a, b) for a, b in edges], backward)
    for i in range(count):
        for j in range(i):
            (x1, y1), (x2, y2) = layout.places[i], layout.places[j]
            assert abs(x1 - x2) >= WIDTH - 0.5 or abs(y1 - y2) >= HEIGHT
    if layout.border is not None:
        for flag, (x, _) in zip(backward, layout.places):
            assert (x > layout.border) if flag else (x + WIDTH < layout.border)


def test_readers_stand_below_what_they_read() -> None:
    layout = layered(4, [(0, 1), (1, 2), (0, 3), (3, 2)], [False] * 4)
    rows = [y for _, y in layout.places]
    assert rows[0] < rows[1] < rows[2]
    assert rows[0] < rows[3] < rows[2]


def test_a_cycle_is_laid_out_all_the_same() -> None:
    assert len(layered(3, [(0, 1), (1, 2), (2, 0)], [False] * 3).places) == 3


def test_nothing_has_no_size() -> None:
    layout = layered(0, [], [])
    assert (layout.width, layout.height) == (0, 0)
