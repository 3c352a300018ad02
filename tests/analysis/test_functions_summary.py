"""Functional loops, branches and calls are named with their sizes, in nests too, in linear time."""

from __future__ import annotations

import pytest

from graphrev.analysis.frames_gradients import control_flow
from graphrev.analysis.frames_summary import places
from graphrev.analysis.functions_calls import find_calls
from tools.bench.nests import loops, nest


def test_every_call_of_a_nest_is_named_with_the_nodes_of_what_it_runs() -> None:
    found = places(nest(4, 3))
    assert [(place.kind, place.name, place.nodes) for place in found] == [
        ("PartitionedCall", "call", 4),
        ("PartitionedCall", "f0/call", 4),
        ("PartitionedCall", "f1/call", 4),
        ("PartitionedCall", "f2/call", 3),
    ]


@pytest.mark.parametrize(
    ("last", "said"), [("gone", "not in the library"), ("f1", "calls itself: 'f1' -> 'f2'")]
)
def test_a_missing_function_and_a_ring_of_calls_are_faults(last: str, said: str) -> None:
    graph = nest(3, 2, last)
    (fault,) = find_calls(graph).faults
    assert said in fault.reason and fault.nodes[0] == "call"
    assert find_calls(graph).broken >= {"f1", "f2"}
    assert any(place.kind == "fault" and said in place.detail for place in places(graph))


@pytest.mark.slow
def test_a_hundred_thousand_nodes_in_two_hundred_frames_or_functions_are_all_placed() -> None:
    frames, functions = loops(200, 500), nest(200, 500)
    flow = control_flow(frames)
    assert len(frames) > 100_000 and not flow.faults
    assert len(flow.frames.loops) == 200 and len(flow.frames.of) > 100_000
    assert sum(place.nodes for place in places(functions)) > 100_000
    assert sum(place.kind == "PartitionedCall" for place in places(functions)) == 200


def test_nested_frames_are_named_with_their_sizes() -> None:
    found = [place for place in places(loops(3, 4)) if place.kind == "loop"]
    assert [place.name for place in found] == ["loop0", "loop1", "loop2"]
    assert all(place.nodes > 4 for place in found)
