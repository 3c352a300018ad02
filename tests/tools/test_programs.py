"""A short seeded run of random programs; ``python -m tools.programs`` is the long one."""

from __future__ import annotations

import pytest

from graphrev.editor import GraphEditor
from graphrev.edits import Cause
from graphrev.verification.recording import Recording
from tools.programs.check import check, compare, fails
from tools.programs.generate import Program


def test_a_number_names_a_program() -> None:
    first, again = Program(3).build(), Program(3).build()
    assert [(n.name, n.op, n.inputs) for n in first.nodes.values()] == [
        (n.name, n.op, n.inputs) for n in again.nodes.values()
    ]
    assert list(Program(4).build().nodes) != list(first.nodes)


def _checked(seeds: range) -> int:
    rewritten = 0
    for seed in seeds:
        result = check(Program(seed).build(), seed, pairs=1)
        assert result.faults == [], (seed, result.faults)
        rewritten += result.rewritten
    return rewritten


def test_few_programs_train_as_before_under_every_pass() -> None:
    assert _checked(range(2)) >= 1


@pytest.mark.slow
def test_more_programs_train_as_before_under_every_pass() -> None:
    assert _checked(range(100, 112)) >= 7


def test_a_difference_is_found() -> None:
    graph = Program(5).build()
    editor = GraphEditor(graph, Cause("test"))
    summed = graph[graph["net/loss"].inputs[0].node]
    editor.set_input("net/loss", 0, summed.inputs[1])
    other, _ = editor.finish()
    recording = Recording(graph)
    assert compare(recording, graph) == ""
    assert "differs" in compare(recording, other)
    assert not fails(graph, ("strip-masks",))
