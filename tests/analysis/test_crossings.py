"""Which tensors newly cross devices."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from graphrev import api
from graphrev.analysis.crossings import Crossing, differ, new_crossings
from graphrev.ir import DType, Graph, Node, Shape, TensorRef
from tests.conftest import FIXTURES

PS, WORKER = "/job:ps/task:0", "/job:worker/task:0"
FLOAT = MappingProxyType({"dtype": DType.FLOAT, "shape": Shape((2, 3))})


def _graph(*nodes: Node) -> Graph:
    return Graph(MappingProxyType({node.name: node for node in nodes}))


def _read(name: str, *sources: str, device: str = WORKER, wait: tuple[str, ...] = ()) -> Node:
    refs = tuple(TensorRef(source) for source in sources)
    return Node(name, "Neg", refs, wait, device)


W = Node("w", "Placeholder", device=PS, attrs=FLOAT)
V = Node("v", "Placeholder", device=PS, attrs=FLOAT)


def test_a_tensor_that_crossed_before_does_not_count() -> None:
    before = _graph(W, _read("a", "w"))
    assert new_crossings(before, _graph(W, _read("a", "w"), _read("copy", "w"))) == ()


def test_what_newly_crosses_is_named_with_its_size() -> None:
    before = _graph(W, V, _read("a", "w"))
    after = _graph(W, V, _read("a", "w"), _read("b", "v"), _read("c", "w", wait=("v",)))
    found = new_crossings(before, after)
    assert found == (Crossing("^v", WORKER, 0), Crossing("v:0", WORKER, 24))
    assert str(found[1]) == "v:0 to /job:worker/task:0 (24 bytes)"


def test_a_node_sits_with_what_it_is_colocated_with() -> None:
    placed = _read("a", "w")
    placed = replace(placed, attrs=MappingProxyType({"_class": (b"loc:@w",)}))
    assert new_crossings(_graph(W), _graph(W, placed)) == ()


def test_an_unknown_device_is_not_guessed() -> None:
    assert new_crossings(_graph(W), _graph(W, _read("a", "w", device=""))) == ()


@pytest.mark.parametrize(
    ("one", "other", "different"),
    [
        ("/job:ps/task:0", "/job:worker/task:0", True),
        ("/job:worker/task:0", "/job:worker/task:1/device:CPU:0", True),
        ("/device:CPU:0", "/cpu:0", False),
        ("/cpu:0", "/job:worker/replica:0/task:1/device:CPU:0", False),
        ("/device:GPU:0", "/device:GPU:1", True),
        ("/device:GPU:*", "/device:GPU:1", False),
        ("", "/cpu:0", False),
    ],
)
def test_two_names_may_stand_for_one_device(one: str, other: str, different: bool) -> None:
    assert differ(one, other) is differ(other, one) is different


def test_copies_of_blocks_stay_where_their_originals_are() -> None:
    rewritten = api.rewrite(FIXTURES / "devices.meta.gz", "reversible{detect=structural}")
    assert rewritten.changed
    assert rewritten.report.new_crossings == ()
    assert rewritten.report.to_json()["new_crossings"] == []


def test_the_report_says_what_newly_crosses() -> None:
    report = api.analyze(FIXTURES / "devices.meta.gz", "clean-scopes")
    before, after = _graph(W, V, _read("a", "w")), _graph(W, V, _read("a", "w"), _read("b", "v"))
    told = replace(report, run=replace(report.run, before=before, after=after)).to_text()
    assert "newly crosses devices: v:0 to /job:worker/task:0 (24 bytes)" in told
