from __future__ import annotations

import pytest

from graphrev.analysis.functions_size import Inlined, inlined
from graphrev.api import verify
from graphrev.errors import VerificationError
from tests.passes.mask.test_inside import nested


@pytest.mark.parametrize(
    ("depth", "calls", "wanted"),
    [
        (1, 1, Inlined(3 + 2, 1)),
        (3, 1, Inlined(3 + 1 + 1 + 2, 3)),
        (3, 2, Inlined(3 + 2 + 4 + 8, 3)),
        (3000, 1, Inlined(3 + 2999 + 2, 3000)),
        (60, 2, Inlined(3 + 2**60 - 2 + 2**60, 60)),
    ],
)
def test_a_function_counts_as_often_as_it_is_called(
    depth: int, calls: int, wanted: Inlined
) -> None:
    graph = nested(depth, calls, multiplies=True)
    assert inlined(graph, graph.nodes.values()) == wanted


@pytest.mark.parametrize(("depth", "calls"), [(3000, 1), (60, 2)])
def test_what_would_explode_is_not_run(depth: int, calls: int) -> None:
    graph = nested(depth, calls, multiplies=True)
    with pytest.raises(VerificationError, match="in the place of their calls"):
        verify(graph, graph, fetches=["top"])


def test_what_calls_little_is_run() -> None:
    graph = nested(20, 1, multiplies=True)
    with pytest.raises(
        VerificationError, match="Could not find variable"
    ):  # It has no initializer.
        verify(graph, graph, fetches=["top"])
