"""A short seeded run of nested random programs; ``python -m tools.fuzz.nests`` is the long one."""

from __future__ import annotations

import pytest

from tools.fuzz.nests import sweep


def test_few_nests_give_the_same_gradients() -> None:
    seen = sweep(4, seed=1)
    assert seen["programs"] == 4 and seen["rewritten and equal"] > 0


@pytest.mark.slow
def test_many_nests_of_both_kinds_give_the_same_gradients() -> None:
    seen = sweep(30, seed=2)
    assert 0 < seen["functional"] < seen["programs"] == 30
    assert seen["rewritten and equal"] >= 15
