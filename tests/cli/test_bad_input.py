"""Every line of "Bad input": exit code, one paragraph that names file and node, nothing left."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphrev.io import files
from tests.cli.runner import assert_inert, assert_refused, invoke
from tests.conftest import FIXTURES
from tests.io.samples import chain, graph_def, meta_graph, nested_function, node_with_attr

Capture = pytest.CaptureFixture[str]
STRUCTURAL = "reversible{detect=structural}"


def refused(
    capsys: Capture, tmp_path: Path, name: str, data: bytes, *said: str, code: int = 3
) -> None:
    """``inspect`` and ``rewrite`` refuse ``data``, name the file and leave nothing behind."""
    source = tmp_path / name
    source.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    assert_refused(invoke(capsys, "inspect", source), code, name, *said)
    output = tmp_path / "out.pb"
    rewritten = invoke(capsys, "rewrite", source, "-o", output, "-p", STRUCTURAL)
    assert_refused(rewritten, code, name, *said)
    assert sorted(tmp_path.iterdir()) == before
    assert source.read_bytes() == data


def every_command_survives(
    capsys: Capture, tmp_path: Path, name: str, data: bytes, codes: tuple[int, ...] = (0, 3)
) -> None:
    source, output = tmp_path / name, tmp_path / "out.pb"
    source.write_bytes(data)
    for args in (
        ("show", source),
        ("inspect", source),
        ("inspect", source, "--json"),
        ("rewrite", source, "-o", output, "-p", STRUCTURAL, "--overwrite"),
    ):
        outcome = invoke(capsys, *args)
        assert outcome.code in codes, (args, data, outcome)
        assert_inert(outcome.out)
        if outcome.code:
            assert_refused(outcome, 3, name)


@pytest.mark.parametrize("name", ["cut.pb", "cut.meta"])
def test_a_file_cut_at_any_byte_is_refused_or_a_smaller_whole_graph(
    name: str, capsys: Capture, tmp_path: Path
) -> None:
    graph = chain()
    whole = (graph if name.endswith("pb") else meta_graph(graph)).SerializeToString()
    source = tmp_path / name
    refusals = 0
    for length in range(len(whole)):
        source.write_bytes(whole[:length])
        outcome = invoke(capsys, "inspect", source)
        if outcome.code:
            refusals += 1
            assert_refused(outcome, 3, name)
    # A GraphDef cut between two nodes is a whole, smaller GraphDef: no reader can tell.
    assert refusals >= len(whole) - len(graph.node) - 12


def test_a_cut_saved_model_or_gzip_is_refused(capsys: Capture, tmp_path: Path) -> None:
    whole = (FIXTURES / "saved_model" / "saved_model.pb").read_bytes()
    (tmp_path / "m").mkdir()
    for length in (0, 1, 2, 5, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m" / "saved_model.pb").write_bytes(whole[:length])
        assert_refused(invoke(capsys, "inspect", tmp_path / "m"), 3, "m")
    packed = gzip.compress(chain().SerializeToString())
    for length in range(len(packed)):
        (tmp_path / "a.pb.gz").write_bytes(packed[:length])
        assert_refused(invoke(capsys, "inspect", tmp_path / "a.pb.gz"), 3, "a.pb.gz")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=200), name=st.sampled_from(["r.pb", "r.pbtxt", "r.meta", "r.pb.gz"]))
def test_random_bytes_never_crash(data: bytes, name: str, capsys: Capture, tmp_path: Path) -> None:
    every_command_survives(capsys, tmp_path, name, data)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    meta=st.booleans(),
)
def test_damaged_bytes_never_crash(
    flips: list[tuple[int, int]], meta: bool, capsys: Capture, tmp_path: Path
) -> None:
    data = bytearray((meta_graph(chain()) if meta else chain()).SerializeToString())
    for at, value in flips:
        data[at % len(data)] = value
    every_command_survives(capsys, tmp_path, "d.meta" if meta else "d.pb", bytes(data))


def contents() -> dict[str, bytes]:
    graph, meta = chain(), meta_graph(chain())
    saved = (FIXTURES / "saved_model" / "saved_model.pb").read_bytes()
    return {
        "graph": graph.SerializeToString(),
        "graph text": str(graph).encode(),
        "meta": meta.SerializeToString(),
        "meta text": str(meta).encode(),
        "saved model": saved,
        "gzip": gzip.compress(graph.SerializeToString()),
        "json": b'{"nodes": []}\n',
        "image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    }


FITTING = {
    ("graph", "a.pb"),
    ("graph text", "a.pbtxt"),
    ("meta", "a.meta"),
    ("meta text", "a.meta"),
    ("meta text", "a.pbtxt"),
    ("saved model", "saved_model.pb"),
    ("gzip", "a.pb.gz"),
}


@pytest.mark.parametrize("name", ["a.pb", "a.pbtxt", "a.meta", "saved_model.pb", "a.pb.gz"])
@pytest.mark.parametrize("kind", list(contents()))
def test_only_a_fitting_extension_is_read(
    kind: str, name: str, capsys: Capture, tmp_path: Path
) -> None:
    data = contents()[kind]
    if (kind, name) in FITTING:
        (tmp_path / name).write_bytes(data)
        assert invoke(capsys, "inspect", tmp_path / name).code == 0
    else:
        refused(capsys, tmp_path, name, data)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('node {\n  name: "a"\n  op: \n}\n', "line 4, column 1"),
        ('node {\n  name: "a"\n  opp: "NoOp"\n}\n', "line 3, column 3"),
        ('node {\n  name: "a\n}\n', "line 2, column 9"),
        ('node {\n  name: "a"\n', "line 2"),
        ('node { name: "a" op: "NoOp" attr { key: "T" value { type: DT_FLOT } } }', "line 1"),
    ],
)
def test_text_errors_name_line_and_column(
    text: str, place: str, capsys: Capture, tmp_path: Path
) -> None:
    refused(capsys, tmp_path, "a.pbtxt", text.encode(), place)


def with_output(index: int) -> Any:
    return graph_def(("a", "Placeholder", ()), ("b", "Neg", (f"a:{index}",)))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (graph_def(("twin", "NoOp", ()), ("twin", "NoOp", ())), ["twin"]),
        (graph_def(("b", "Neg", ("gone",))), ["'b'", "gone"]),
        (graph_def(("b", "NoOp", ("^gone",))), ["'b'", "gone"]),
        (graph_def(("a", "Neg", ("b",)), ("b", "Neg", ("a",))), ["'a'", "'b'"]),
        (graph_def(("a", "NoOp", ("^a",))), ["'a'"]),
        (with_output(1), ["'a'", "'b'", "1"]),
        (with_output(99999999999), ["'a'", "'b'"]),
        (graph_def(("a", "", ())), ["'a'"]),
        (graph_def(), ["empty"]),
    ],
    ids="duplicate dangling control cycle self range huge op empty".split(),
)
def test_broken_graphs_are_named_with_their_nodes(
    graph: Any, said: list[str], capsys: Capture, tmp_path: Path
) -> None:
    refused(capsys, tmp_path, "broken.pb", graph.SerializeToString(), *said)


def test_broken_graphs_are_refused_by_verify_too(capsys: Capture, tmp_path: Path) -> None:
    for name, graph in (("ok.pb", chain()), ("bad.pb", graph_def(("b", "Neg", ("gone",))))):
        (tmp_path / name).write_bytes(graph.SerializeToString())
    outcome = invoke(capsys, "verify", tmp_path / "ok.pb", tmp_path / "bad.pb")
    assert_refused(outcome, 3, "bad.pb", "gone")


@pytest.mark.parametrize("name", ["big.pb", "big.meta", "big.pbtxt", "big.pb.gz"])
def test_more_than_protobuf_can_hold_is_refused(
    name: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = graph_def(*((f"n{i}", "NoOp", ()) for i in range(200))).SerializeToString()
    monkeypatch.setattr(files, "LARGEST", 1000)
    data = gzip.compress(data) if name.endswith("gz") else data
    refused(capsys, tmp_path, name, data, "2 GiB")


def test_a_result_over_the_limit_is_not_written(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chain().SerializeToString()
    (tmp_path / "a.pbtxt").write_text(str(chain()))
    monkeypatch.setattr(files, "LARGEST", 0)
    monkeypatch.setattr(files, "_read", lambda file: file.read_bytes())
    assert data
    outcome = invoke(
        capsys, "rewrite", tmp_path / "a.pbtxt", "-o", tmp_path / "out.pb", "-p", "reversible"
    )
    assert_refused(outcome, 3, "out.pb", "2 GiB")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pbtxt"]


@pytest.mark.parametrize("levels", [99, 100])
def test_functions_nested_to_the_limit_are_read(
    levels: int, capsys: Capture, tmp_path: Path
) -> None:
    data = node_with_attr("deep", "f", nested_function(levels))
    every_command_survives(capsys, tmp_path, "deep.pb", data, codes=(0,))


@pytest.mark.parametrize("levels", [101, 300, 5000])
def test_functions_nested_deeper_are_refused_by_node(
    levels: int, capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "deep.pb").write_bytes(node_with_attr("deep", "f", nested_function(levels)))
    outcome = invoke(capsys, "show", tmp_path / "deep.pb")
    assert_refused(outcome, 3, "deep.pb", "'deep'", "100 levels")
    every_command_survives(
        capsys, tmp_path, "deep.pb", node_with_attr("deep", "T", nested_function(levels))
    )


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["rewrit"], ["'rewrit'", "'rewrite'"]),
        (["frobnicate"], ["'frobnicate'"]),
        (["inspect"], ["IN", "--help"]),
        (["rewrite", "IN", "--outpt", "x"], ["--outpt", "--output"]),
        (["inspect", "IN", "-p", "reversibl"], ["'reversibl'", "'reversible'"]),
        (["inspect", "IN", "-p", "reversible{detct=marked}"], ["'detct'", "'detect'"]),
        (["inspect", "IN", "-p", "reversible{detect=structurl}"], ["structurl", "'structural'"]),
        (["inspect", "IN", "-p", "reversible{anchor_every=x}"], ["anchor_every", "'x'"]),
        (["inspect", "IN", "-p", "{"], ["'{'"]),
        (["inspect", "nothere.pb"], ["nothere.pb"]),
        (["inspect", "a\0b.pb"], ["a\\x00b.pb"]),
        (["inspect", "IN.txt"], ["IN.txt", ".pbtxt"]),
        (["inspect", "."], ["saved_model.pb"]),
        (["rewrite", "IN", "-o", "out.pb"], ["-p"]),
        (["rewrite", "IN", "-p", "reversible"], ["-o"]),
        (["rewrite", "IN", "-p", "reversible", "-o", "out.txt"], ["out.txt", ".pbtxt"]),
        (["rewrite", "IN", "-p", "reversible", "-o", "out.meta"], ["out.meta", ".pb"]),
        (["rewrite", "IN", "-p", "reversible", "-o", "o.pb", "--report", "r.txt"], ["r.txt"]),
        (["rewrite", "IN", "-p", "reversible", "-o", "in.pb"], ["in.pb", "--overwrite"]),
        (["rewrite", "IN", "-p", "reversible", "-o", "o.pb", "--report", "o.pb"], ["o.pb"]),
        (["inspect", "IN", "--feed", "x"], ["'x'", "NAME=SHAPE"]),
        (["inspect", "IN", "--feed", "x=a,3"], ["x=a,3", "NAME=SHAPE"]),
        (["inspect", "IN", "--feed", "xx=1,3"], ["in.pb", "'xx'", "'x'"]),
        (["inspect", "IN", "--feed", "x=1,4"], ["in.pb", "'x'", "[1,4]", "[?,3]"]),
        (["inspect", "IN", "--feed", "x=1"], ["in.pb", "'x'", "[1]", "[?,3]"]),
        (["inspect", "IN", "--feed", "x=\x1b[31m,3"], ["\\x1b"]),
        (["\x1b[2J"], ["\\x1b"]),
        (["inspect", "IN", "--\x1b[2J"], ["\\x1b"]),
        (["inspect", "\x1b[2J\u202e.pb"], ["\\x1b", "\\u202e"]),
        (["rewrite", "IN", "-p", "\x1b[2J", "-o", "o.pb"], ["\\x1b"]),
    ],
    ids=lambda value: ascii(" ".join(value))[:60],
)
def test_wrong_calls_are_one_paragraph_and_exit_2(
    args: list[str],
    said: list[str],
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = chain().SerializeToString()
    (tmp_path / "in.pb").write_bytes(data)
    outcome = invoke(capsys, *(arg.replace("IN", "in.pb") if arg == "IN" else arg for arg in args))
    assert_refused(outcome, 2, *said)
    assert [path.name for path in tmp_path.iterdir()] == ["in.pb"]
    assert (tmp_path / "in.pb").read_bytes() == data
