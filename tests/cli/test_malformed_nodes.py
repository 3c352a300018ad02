"""Nodes that are no nodes of their op: analysed without a crash, or refused by name."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from graphrev.io.protos import light
from tests.cli.runner import assert_refused, invoke
from tests.conftest import FIXTURES

Capture = pytest.CaptureFixture[str]


def training_graph(name: str) -> Any:
    data = gzip.decompress((FIXTURES / f"{name}.meta.gz").read_bytes())
    return light("meta_graph_pb2").MetaGraphDef.FromString(data)


def survives(capsys: Capture, path: Path, meta: Any) -> None:
    path.write_bytes(meta.SerializeToString())
    outcome = invoke(capsys, "inspect", path, "-p", "reversible{detect=structural}")
    if outcome.code:
        assert_refused(outcome, 3, path.name)


@pytest.mark.parametrize(
    ("fixture", "op"),
    [
        ("cond_block", "Switch"),
        ("cond_block", "Merge"),
        ("while_block", "Enter"),
        ("while_block", "NextIteration"),
        ("revnet_resource", "ReadVariableOp"),
        ("revnet", "Conv2D"),
        ("sums", "AddN"),
        ("sums", "Sub"),
    ],
)
@pytest.mark.parametrize("kept", [0, 1])
def test_missing_inputs_are_no_crash(
    fixture: str, op: str, kept: int, capsys: Capture, tmp_path: Path
) -> None:
    meta = training_graph(fixture)
    changed = 0
    for node in meta.graph_def.node:
        if node.op == op:
            node.input[:] = node.input[:kept]
            changed += 1
    assert changed
    survives(capsys, tmp_path / "cut.meta", meta)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fixture", ["sums", "cond_block", "while_block"])
def test_attributes_of_another_kind_are_no_crash(
    fixture: str, seed: int, capsys: Capture, tmp_path: Path
) -> None:
    meta, draw = training_graph(fixture), random.Random(seed)
    for node in draw.sample(list(meta.graph_def.node), 20):
        for key in list(node.attr):
            wrong = draw.choice(["s", "i", "type", "shape", "list", "func"])
            node.attr[key].Clear()
            if wrong in ("shape", "list", "func"):
                getattr(node.attr[key], wrong).SetInParent()
            else:
                setattr(node.attr[key], wrong, b"\xff" if wrong == "s" else 2**31 - 1)
    survives(capsys, tmp_path / "odd.meta", meta)
