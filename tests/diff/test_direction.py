"""Forward and backward are told apart by structure."""

from __future__ import annotations

from pathlib import Path

from graphrev import api
from graphrev.diff.direction import backward_nodes
from tests.diff.graphs import small


def test_a_graph_without_gradients_has_no_backward_nodes() -> None:
    assert backward_nodes(small()) == frozenset()


def test_gradients_and_copies_are_backward_and_the_blocks_are_not(fixtures: Path) -> None:
    result = api.rewrite(fixtures / "revnet.meta.gz", "reversible")
    backward = backward_nodes(result.model.graph)
    added = {e.node.name for e in result.edits if type(e).__name__ == "AddNode"}
    assert added <= backward
    gradients = {name for name in result.model.graph.nodes if name.startswith("gradients/")}
    assert len(backward & gradients) > 0.75 * len(gradients)
    inside = {n for n in gradients if n.startswith("gradients/stage1/block0/f")}
    assert (
        inside and not {n for n in inside if result.model.graph[n].op.endswith("Grad")} - backward
    )
    forward = {name for name in result.model.graph.nodes if name.startswith("stage")}
    forward = {n for n in forward if result.model.graph[n].op in ("Conv2D", "Relu", "AddV2")}
    assert forward and not backward & forward
