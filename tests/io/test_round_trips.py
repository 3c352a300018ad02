"""What is read is written back: per node byte for byte, and everything around the nodes."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest

from graphrev import errors
from graphrev.io import Format, Model, decode, encode_graph, load, save, wire
from graphrev.io.protos import light
from tests.conftest import FIXTURES
from tests.io.samples import chain, meta_graph

METAS = sorted(FIXTURES.glob("*.meta.gz"))


def node_bytes(graph_def: bytes) -> list[bytes]:
    return [wire.chunk(value) for number, _, value in wire.fields(graph_def) if number == 1]


def graph_of(meta: bytes) -> bytes:
    return next(wire.chunk(value) for number, _, value in wire.fields(meta) if number == 2)


def parsed(kind: str, data: bytes) -> Any:
    module = "graph_pb2" if kind == "GraphDef" else "meta_graph_pb2"
    return getattr(light(module), kind).FromString(data)


@pytest.mark.parametrize("fixture", METAS, ids=lambda path: path.name.removesuffix(".meta.gz"))
def test_metas_of_tf115_come_back_byte_for_byte(fixture: Path, tmp_path: Path) -> None:
    original = gzip.decompress(fixture.read_bytes())
    save(load(fixture), tmp_path / "out.meta")
    written = (tmp_path / "out.meta").read_bytes()
    assert node_bytes(graph_of(written)) == node_bytes(graph_of(original))
    assert parsed("MetaGraphDef", written) == parsed("MetaGraphDef", original)


def test_a_frozen_graph_comes_back_byte_for_byte(tmp_path: Path) -> None:
    original = (FIXTURES / "frozen.pb").read_bytes()
    save(load(FIXTURES / "frozen.pb"), tmp_path / "out.pb")
    assert (tmp_path / "out.pb").read_bytes() == original


def test_text_comes_back_as_the_same_text(tmp_path: Path) -> None:
    save(load(FIXTURES / "frozen.pbtxt"), tmp_path / "out.pbtxt")
    assert (tmp_path / "out.pbtxt").read_text() == (FIXTURES / "frozen.pbtxt").read_text()


def test_text_and_binary_hold_the_same_graph() -> None:
    binary, text = load(FIXTURES / "frozen.pb"), load(FIXTURES / "frozen.pbtxt")
    assert (binary.format, text.format) == (Format.GRAPH_BINARY, Format.GRAPH_TEXT)
    assert parsed("GraphDef", encode_graph(binary.graph)) == parsed(
        "GraphDef", encode_graph(text.graph)
    )


@pytest.mark.parametrize("name", ["while_block", "cond_block", "widths"])
def test_a_meta_in_text_keeps_everything(name: str, tmp_path: Path) -> None:
    from google.protobuf import text_format

    original = parsed("MetaGraphDef", gzip.decompress((FIXTURES / f"{name}.meta.gz").read_bytes()))
    (tmp_path / "in.meta").write_text(text_format.MessageToString(original))
    model = load(tmp_path / "in.meta")
    assert model.format is Format.META_TEXT
    save(model, tmp_path / "out.meta")
    read = light("meta_graph_pb2").MetaGraphDef()
    text_format.Parse((tmp_path / "out.meta").read_text(), read)
    assert read == original


def test_gzip_around_any_file_format_is_opened(tmp_path: Path) -> None:
    for name in ("frozen.pb", "frozen.pbtxt"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((FIXTURES / name).read_bytes()))
        assert len(load(tmp_path / f"{name}.gz").graph) == len(load(FIXTURES / name).graph)


def test_a_saved_model_keeps_variables_assets_and_other_metas(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(FIXTURES / "saved_model", source)
    (source / "assets").mkdir()
    (source / "assets" / "words.txt").write_text("a\nb\n")
    (source / "assets.extra").mkdir()
    other = meta_graph(chain())
    other.meta_info_def.tags[:] = ["serve"]
    future = wire.bytes_field(99, b"future")
    with open(source / "saved_model.pb", "ab") as file:
        file.write(wire.bytes_field(2, other.SerializeToString()) + future)
    model = load(source)
    assert model.format is Format.SAVED_MODEL
    save(model, tmp_path / "out")
    ours, theirs = (p / "saved_model.pb" for p in (tmp_path / "out", source))
    assert sorted(wire.fields(ours.read_bytes())) == sorted(wire.fields(theirs.read_bytes()))
    for path in source.rglob("*"):
        copy = tmp_path / "out" / path.relative_to(source)
        assert copy.is_dir() if path.is_dir() else copy.read_bytes() == path.read_bytes()


def test_a_saved_model_is_found_by_its_file_too() -> None:
    by_file = load(FIXTURES / "saved_model" / "saved_model.pb")
    assert list(by_file.graph.nodes) == list(load(FIXTURES / "saved_model").graph.nodes)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.pb.gz"])
def test_a_file_beside_a_saved_model_is_read_as_itself(name: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "s")
    data = (FIXTURES / "frozen.pbtxt").read_bytes()
    if name.endswith(".gz"):
        data = gzip.compress((FIXTURES / "frozen.pb").read_bytes())
    (tmp_path / "s" / name).write_bytes(data)
    assert len(load(tmp_path / "s" / name).graph) == 4


def unusual() -> bytes:
    """A GraphDef with what a later or a foreign TensorFlow may have put into it."""
    graph = chain()
    graph.versions.min_consumer = 12
    graph.versions.bad_consumers.extend([20, 21])
    custom = graph.node.add(name="scope/custom.op-1", op="Vendor>Fancy", input=["z", "^done"])
    custom.attr["_vendor_note"].s = b"\x00\xff"
    custom.attr["unset"].SetInParent()
    custom.attr["slot"].placeholder = "T"
    custom.attr["kinds"].list.type.extend([1, 3, 400])
    custom.attr["mixed"].list.i.append(1)
    custom.attr["mixed"].list.s.append(b"x")
    custom.attr["call"].func.name = "twice"
    custom.attr["call"].func.attr["T"].type = 1
    custom.attr["named"].shape.dim.add(size=2, name="batch")
    custom.attr["nan"].f = float("nan")
    custom.experimental_debug_info.original_node_names.append("before")
    function = graph.library.function.add()
    function.signature.name = "twice"
    function.signature.input_arg.add(name="a", type=1)
    function.signature.output_arg.add(name="b", type=1)
    function.node_def.add(name="sum", op="AddV2", input=["a", "a"]).attr["T"].type = 1
    function.ret["b"] = "sum:z:0"
    function.attr["_noinline"].b = True
    function.arg_attr[0].attr["_note"].s = b"kept"
    graph.library.gradient.add(function_name="twice", gradient_func="twice_grad")
    unknown = wire.bytes_field(77, b"future") + wire.number_field(78, 5)
    node = wire.bytes_field(1, wire.text_field(1, "n") + wire.text_field(2, "NoOp") + unknown)
    return graph.SerializeToString() + node + unknown


def test_unknown_fields_functions_and_custom_ops_survive() -> None:
    data = unusual()
    written = encode_graph(decode(data, ".pb", "test").graph)
    assert node_bytes(written) == node_bytes(data)
    assert sorted(wire.fields(written)) == sorted(wire.fields(data))


def test_changing_a_node_keeps_its_other_attributes_and_unknown_fields() -> None:
    data = unusual()
    graph = decode(data, ".pb", "test").graph
    for node in graph.nodes.values():
        changed = node.evolve(device="/job:x").evolve(device=node.device)
        bare = type(graph).of([changed])
        before = parsed("GraphDef", wire.bytes_field(1, node.raw or b""))
        after = parsed("GraphDef", encode_graph(bare))
        assert before.SerializeToString(deterministic=True) == after.SerializeToString(
            deterministic=True
        )


def test_text_cannot_hold_unknown_fields_and_says_so(tmp_path: Path) -> None:
    model = decode(unusual(), ".pb", "test")
    with pytest.raises(errors.UsageError, match=r"out\.pbtxt.*\.pb"):
        save(model, tmp_path / "out.pbtxt")
    assert list(tmp_path.iterdir()) == []


def test_a_meta_keeps_collections_signatures_and_saver() -> None:
    original = meta_graph(chain())
    original.graph_def.library.gradient.add(function_name="f", gradient_func="g")
    data = original.SerializeToString() + wire.bytes_field(88, b"future")
    model = decode(data, ".meta", "test")
    assert model.envelope is not None
    assert model.envelope.encode(encode_graph(model.graph)) == data
    assert (model.fed, model.fetched) == (("x:0",), ("z:0",))
    assert model.envelope.collection("train_op") == ("done",)


def test_a_meta_can_be_written_as_a_bare_graph(tmp_path: Path) -> None:
    model = load(FIXTURES / "widths.meta.gz")
    save(model, tmp_path / "out.pb")
    original = graph_of(gzip.decompress((FIXTURES / "widths.meta.gz").read_bytes()))
    assert node_bytes((tmp_path / "out.pb").read_bytes()) == node_bytes(original)


def test_a_bare_graph_cannot_become_a_meta(tmp_path: Path) -> None:
    model: Model = load(FIXTURES / "frozen.pb")
    with pytest.raises(errors.UsageError, match=r"Write a \.pb"):
        save(model, tmp_path / "out.meta")
