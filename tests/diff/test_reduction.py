"""Reducing keeps the failure and little else."""

from __future__ import annotations

from pathlib import Path

from graphrev import api
from graphrev.analysis import ops
from graphrev.diff.reduction import reduce_graph
from graphrev.ir import Graph
from graphrev.ir.verify import verify


def test_only_what_the_failure_needs_is_left(fixtures: Path) -> None:
    graph = api.load(fixtures / "revnet.meta.gz").graph
    seen: list[int] = []

    def fails(candidate: Graph) -> bool:
        verify(candidate, ops.output_count)
        seen.append(len(candidate))
        return any(
            n.op == "ReluGrad" and candidate[n.inputs[1].node].op != "Const"
            for n in candidate.nodes.values()
        )

    reduced = reduce_graph(graph, fails)
    assert sorted(n.op for n in reduced.nodes.values()) == [
        "Placeholder",
        "Placeholder",
        "ReluGrad",
    ]
    assert len(graph) == 1330
    assert len(seen) < 2500


def test_a_failure_that_needs_everything_keeps_everything(fixtures: Path) -> None:
    graph = api.load(fixtures / "frozen.pb").graph
    reduced = reduce_graph(
        graph, lambda g: {n.op for n in g.nodes.values()} >= {"Softmax", "MatMul"}
    )
    assert [n.op for n in reduced.nodes.values()][-2:] == ["MatMul", "Softmax"]
