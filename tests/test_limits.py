"""Graphs of a few bytes that ask for all the memory there is, and what the code must never do."""

from __future__ import annotations

import ast
import resource
from pathlib import Path
from typing import Any

import pytest

import graphrev
from graphrev import api
from graphrev.errors import GraphrevError
from graphrev.io import decode
from graphrev.io.protos import light
from tools.interrupt.__main__ import in_child

PASSES = ("reversible{detect=structural}", "recompute", "clean-scopes")
_MEMORY = 3 << 30
_SECONDS = 60


def _graph() -> Any:
    graph = light("graph_pb2").GraphDef()
    graph.node.add(name="x", op="Placeholder").attr["dtype"].type = 1
    return graph


def functions() -> Any:
    """Each of 60 functions calls the next one twice: 2^60 calls."""
    graph = _graph()
    for number in range(60):
        function = graph.library.function.add()
        function.signature.name = f"f{number}"
        function.signature.input_arg.add(name="a", type=1)
        function.signature.output_arg.add(name="o", type=1)
        source = "a"
        for call in range(2):
            node = function.node_def.add(name=f"c{call}", op="PartitionedCall", input=[source])
            node.attr["f"].func.name = f"f{(number + 1) % 60 if number < 59 else 59}"
            node.attr["Tin"].list.type.append(1)
            node.attr["Tout"].list.type.append(1)
            source = f"c{call}:output:0"
        function.ret["o"] = source
    node = graph.node.add(name="call", op="PartitionedCall", input=["x"])
    node.attr["f"].func.name = "f0"
    node.attr["Tin"].list.type.append(1)
    node.attr["Tout"].list.type.append(1)
    return graph


def names() -> Any:
    """Names that lie in 100,000 scopes."""
    graph = _graph()
    for number in range(5):
        graph.node.add(name="a/" * 100_000 + str(number), op="NoOp")
    return graph


def pieces() -> Any:
    """Ten thousand nodes that have a million outputs each, as they say."""
    graph = _graph()
    axis = graph.node.add(name="axis", op="Const")
    axis.attr["dtype"].type = 3
    axis.attr["value"].tensor.dtype = 3
    axis.attr["value"].tensor.int_val.append(0)
    for number in range(10_000):
        node = graph.node.add(name=f"s{number}", op="Split", input=["axis", "x"])
        node.attr["T"].type = 1
        node.attr["num_split"].i = 1_000_000
    return graph


def frames() -> Any:
    """Three thousand loops, each in the one before."""
    graph, last = _graph(), "x"
    for number in range(3000):
        node = graph.node.add(name=f"e{number}", op="Enter", input=[last])
        node.attr["T"].type = 1
        node.attr["frame_name"].s = f"f{number}".encode()
        last = node.name
    return graph


@pytest.mark.parametrize("build", [functions, names, pieces, frames])
def test_a_graph_that_would_explode_stays_within_bounds(build: Any) -> None:
    data = build().SerializeToString()

    def rewrite() -> None:
        for kind, most in ((resource.RLIMIT_DATA, _MEMORY), (resource.RLIMIT_CPU, _SECONDS)):
            resource.setrlimit(kind, (most, most))
        for spec in PASSES:
            try:
                api.rewrite(decode(data, ".pb", "hostile.pb"), spec).report.to_text()
            except GraphrevError:
                continue

    in_child(rewrite)


def _calls(tree: ast.AST) -> set[str]:
    found = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and _named(n.func)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def _named(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def test_no_input_is_ever_run_or_unpickled() -> None:
    sources = sorted(Path(graphrev.__file__).parent.rglob("*.py"))
    assert len(sources) > 100
    for source in sources:
        used = _calls(ast.parse(source.read_text()))
        bad = used & {"eval", "exec", "compile", "pickle", "marshal", "shelve", "dill"}
        allowed = {"compile"} if "compare import compile" in source.read_text() else set[str]()
        assert not bad - allowed, (source, bad)
