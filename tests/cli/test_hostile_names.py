"""Names are hostile text: nothing a terminal obeys reaches it raw, in text or in JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphrev.io import wire
from graphrev.io.protos import light
from tests.cli.runner import assert_inert, assert_refused, invoke
from tests.conftest import FIXTURES
from tests.io.samples import graph_def

Capture = pytest.CaptureFixture[str]
STRUCTURAL = "reversible{detect=structural}"
NASTY = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "two\nlines\r\nthree",
    "back\b\b\bspace\0nul\x7f",
    "\u202egnp.exe\u2066\u200e",
    "\x9b31m\x85\u2028\u2029",
    "\ufeff\u00ad\u200b\u2060\U000e0041",
    "../../etc/passwd",
    "{[red]}%s{0}",
]


def invoke_all(capsys: Capture, tmp_path: Path, source: Path) -> list[str]:
    """Runs every command that names nodes; checks what it prints; its outputs."""
    texts: list[str] = []
    for args in (
        ("show", source),
        ("inspect", source),
        ("inspect", source, "--json"),
        ("inspect", source, "-p", STRUCTURAL, "--json"),
        ("rewrite", source, "-p", STRUCTURAL, "-o", tmp_path / "out.pb", "--overwrite"),
        ("rewrite", source, "-p", STRUCTURAL, "--dry-run", "--json"),
    ):
        outcome = invoke(capsys, *args)
        assert_inert(outcome.out)
        if outcome.code:
            assert_refused(outcome, 3, source.name)
        elif "--json" in args:
            json.loads(outcome.out)
        texts.append(outcome.out + outcome.err)
    return texts


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_hostile_node_names_are_shown_escaped(name: str, capsys: Capture, tmp_path: Path) -> None:
    graph = graph_def((name, "Placeholder", ()), (f"{name}/b", name, (name, f"^{name}")))
    graph.node[1].device = name
    graph.node[1].attr[name].s = name.encode()
    (tmp_path / "nasty.pb").write_bytes(graph.SerializeToString())
    shown = invoke_all(capsys, tmp_path, tmp_path / "nasty.pb")[0]
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_hostile_names_in_errors_are_escaped(name: str, capsys: Capture, tmp_path: Path) -> None:
    for graph in (
        graph_def((name, "NoOp", ()), (name, "NoOp", ())),
        graph_def((name, "Neg", (f"{name}x",))),
        graph_def((name, "Neg", (f"{name}y",)), (f"{name}y", "Neg", (name,))),
        graph_def((name, "Placeholder", ()), (f"{name}y", "Neg", (f"{name}:7",))),
    ):
        (tmp_path / "nasty.pb").write_bytes(graph.SerializeToString())
        assert_refused(invoke(capsys, "inspect", tmp_path / "nasty.pb"), 3, "nasty.pb")
        text = str(graph).replace("node {", f'node {{ "{name}" ', 1)
        (tmp_path / "nasty.pbtxt").write_text(text)
        assert_refused(invoke(capsys, "inspect", tmp_path / "nasty.pbtxt"), 3, "nasty.pbtxt")
    ok = graph_def((name, "Placeholder", ()))
    (tmp_path / "nasty.pb").write_bytes(ok.SerializeToString())
    fed = invoke(capsys, "inspect", tmp_path / "nasty.pb", "--feed", f"{name}=7")
    assert_refused(fed, 2, "nasty.pb", "[7]")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_name_is_shown_inertly(name: str, capsys: Capture, tmp_path: Path) -> None:
    graph = graph_def((name, "Placeholder", ()), (f"{name}/b", "Neg", (name,)))
    (tmp_path / "any.pb").write_bytes(graph.SerializeToString())
    invoke_all(capsys, tmp_path, tmp_path / "any.pb")


def hostile_fixture(name: str, mark: str) -> bytes:
    """A TF 1.15 training graph whose nodes, block names and messages are hostile."""
    meta: Any = light("meta_graph_pb2").MetaGraphDef.FromString(
        gzip.decompress((FIXTURES / f"{name}.meta.gz").read_bytes())
    )
    for node in meta.graph_def.node:
        node.name = f"{mark}{node.name}"
        node.input[:] = [
            f"^{mark}{i[1:]}" if i.startswith("^") else f"{mark}{i}" for i in node.input
        ]
        for key in [k for k in node.attr if k.startswith("_graphrev")]:
            note = node.attr[key].s
            if note:
                node.attr[key].s = note.replace(b"block", b"block\x1b[31m\xe2\x80\xae")
    data: bytes = meta.graph_def.SerializeToString()
    return data


@pytest.mark.parametrize("fixture", ["widths", "near_misses", "near_misses_unmarked"])
def test_reports_on_hostile_training_graphs_are_inert(
    fixture: str, capsys: Capture, tmp_path: Path
) -> None:
    source = tmp_path / "hostile.pb"
    source.write_bytes(hostile_fixture(fixture, "\x1b[31m\u202e\n"))
    texts = invoke_all(capsys, tmp_path, source)
    assert any("\\x1b[31m" in text or "\\u001b[31m" in text for text in texts)


def test_text_that_is_no_text_is_refused(capsys: Capture, tmp_path: Path) -> None:
    node = wire.bytes_field(1, wire.bytes_field(1, b"\xff\xfe") + wire.text_field(2, "NoOp"))
    (tmp_path / "bytes.pb").write_bytes(node)
    assert_refused(invoke(capsys, "inspect", tmp_path / "bytes.pb"), 3, "bytes.pb", "UTF-8")
