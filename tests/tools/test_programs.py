"""Random programs of loops, branches and functions around marked blocks agree before and after."""

from __future__ import annotations

import pytest

from tools.fuzz.programs import sweep


def test_a_few_random_programs_agree() -> None:
    seen = sweep(4, seed=3, quick=True)
    assert seen["rewritten"] >= 2


@pytest.mark.slow
def test_more_random_programs_agree() -> None:
    seen = sweep(30, seed=4)
    assert seen["rewritten"] >= 15
