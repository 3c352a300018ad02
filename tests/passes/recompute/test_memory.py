"""What marking saves, by the allocation records of a full trace."""

from __future__ import annotations

import pytest

from tests.passes.recompute.nets import chain, rewrite
from tests.passes.reversible.test_traps import peak_bytes


@pytest.mark.parametrize("grappler", [True, False])
def test_a_deep_net_marked_every_four_layers_stays_far_below_plain(grappler: bool) -> None:
    graph = chain(regions=6, depth=4, shape=(4096, 8))
    plain = peak_bytes(graph, grappler=grappler)
    marked = peak_bytes(rewrite(graph)[0].after, grappler=grappler)
    assert marked < plain / 2.2


def test_two_threads_save_as_much() -> None:
    graph = chain(regions=6, depth=4, shape=(4096, 8))
    plain = peak_bytes(graph, threads=2)
    assert peak_bytes(rewrite(graph)[0].after, threads=2) < plain / 2
