"""Constants that are opened, and constants that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from graphrev import load
from graphrev.analysis.frames_gradients import control_flow
from graphrev.errors import GraphrevError
from graphrev.io.constants import is_mask, vector
from graphrev.io.tensors import UnreadableConstantError, integers, to_numpy
from graphrev.ir import DType, Shape, TensorValue

DAMAGED = TensorValue(DType.INT32, Shape((1,)), b"\x22\xff\xff")


def test_the_elements_of_a_vector_are_read() -> None:
    value = vector(DType.INT64, (3, -1))
    assert integers(value) == (3, -1)
    assert to_numpy(value).tolist() == [3, -1]


def test_a_damaged_constant_has_no_known_elements() -> None:
    assert integers(DAMAGED) is None
    with pytest.raises(UnreadableConstantError, match="no TensorProto"):
        to_numpy(DAMAGED)


def test_a_constant_without_its_content_is_refused_and_is_no_mask() -> None:
    empty = TensorValue(DType.STRING, Shape(()), b"\x08\x07")
    with pytest.raises(GraphrevError, match=r"type string and shape \(\) does not hold"):
        to_numpy(empty)
    assert not is_mask(empty)


def test_loops_whose_counters_start_from_what_cannot_be_read_are_analysed(fixtures: Path) -> None:
    graph = load(fixtures / "while_block.meta.gz").graph
    empty = TensorValue(DType.STRING, Shape(()), b"\x08\x07")
    nodes = {
        name: node.evolve(attrs=MappingProxyType({**node.attrs, "value": empty}))
        if node.op == "Const"
        else node
        for name, node in graph.nodes.items()
    }
    flow = control_flow(replace(graph, nodes=MappingProxyType(nodes)))
    assert control_flow(graph).gradients and not flow.gradients
