"""What stands around the graph stays true when the graph is edited."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from graphrev.api import analyze
from graphrev.editor import GraphEditor
from graphrev.errors import InvalidInputError
from graphrev.io import Model, decode, load, wire
from graphrev.io.contexts import CONTEXTS, Changes, updated_context
from graphrev.io.op_defs import op_definition
from graphrev.io.protos import light
from graphrev.ir import Node, TensorRef
from tests.conftest import FIXTURES
from tests.io.samples import chain, graph_def, meta_graph

COND, WHILE = CONTEXTS["cond_context"], CONTEXTS["while_context"]


def envelope_of(model: Model) -> Any:
    assert model.envelope is not None
    return light("meta_graph_pb2").MetaGraphDef.FromString(model.envelope.encode(b""))


def sample(**more: list[bytes]) -> Model:
    meta = meta_graph(chain())
    for key, values in more.items():
        meta.collection_def[key].bytes_list.value.extend(values)
    return decode(meta.SerializeToString(), ".meta", "sample")


def finish(model: Model, editor: GraphEditor) -> Model:
    return model.rewritten(*editor.finish())


def names_of(*values: str) -> bytes:
    return b"".join(wire.text_field(1, value) for value in values)


def test_added_ops_enter_the_op_list_in_its_order_and_nothing_else_changes() -> None:
    model = sample()
    editor = GraphEditor(model.graph)
    editor.add(Node("extra", "Sub", (TensorRef("x"), TensorRef("y"))))
    before, after = envelope_of(model), envelope_of(finish(model, editor))
    listed = [op.name for op in after.meta_info_def.stripped_op_list.op]
    assert listed == ["Identity", "NoOp", "Placeholder", "Sub"]
    added = after.meta_info_def.stripped_op_list.op[-1]
    assert added.SerializeToString() == op_definition("Sub")
    assert len(added.input_arg) == 2
    del after.meta_info_def.stripped_op_list.op[-1]
    assert after == before


def test_a_meta_without_an_op_list_gets_none() -> None:
    meta = meta_graph(chain())
    meta.meta_info_def.ClearField("stripped_op_list")
    model = decode(meta.SerializeToString(), ".meta", "sample")
    editor = GraphEditor(model.graph)
    editor.add(Node("extra", "NoOp"))
    assert not envelope_of(finish(model, editor)).meta_info_def.HasField("stripped_op_list")


def test_no_edit_gives_the_very_same_model() -> None:
    model = sample()
    assert finish(model, GraphEditor(model.graph)) is model


@pytest.mark.parametrize("name", ["while_block", "cond_block"])
def test_a_copy_inside_control_flow_joins_its_context(name: str) -> None:
    model = load(FIXTURES / f"{name}.meta.gz")
    key = name.replace("_block", "_context")
    contexts = envelope_of(model).collection_def[key].bytes_list.value
    layout = CONTEXTS[key]
    values = next(wire.chunk(v) for n, _, v in wire.fields(contexts[0]) if n == layout.values)
    inside = [wire.text(v) for n, _, v in wire.fields(values) if n == 1]
    original = next(v for v in inside if v.endswith(":0")).partition(":")[0]
    editor = GraphEditor(model.graph)
    node = model.graph[original]
    copy = editor.clone(original, "again/copy", node.inputs, node.control_inputs)
    twice = editor.clone(copy, "again/twice", node.inputs, node.control_inputs)
    outside = editor.clone("init", "outside", (), ())
    after = envelope_of(finish(model, editor)).collection_def[key].bytes_list.value
    assert len(after) == len(contexts)
    holding = [new for old, new in zip(contexts, after) if f"{original}:0".encode() in old]
    for new in holding:
        assert f"{copy}:0".encode() in new
        assert f"{twice}:0".encode() in new
        assert outside.encode() not in new
    for old, new in zip(contexts, after):
        if new not in holding:
            assert new == old


def test_a_rename_reaches_everything_that_names_the_node() -> None:
    variable = b"".join(
        wire.text_field(number, text)
        for number, text in ((1, "x:0"), (2, "done"), (3, "x:0"), (6, "y:0"))
    ) + wire.number_field(5, 1)
    saver = light("saver_pb2").SaverDef(filename_tensor_name="x:0", restore_op_name="done")
    context = wire.text_field(1, "ctx") + wire.text_field(2, "x:0") + wire.text_field(3, "z:0")
    context += wire.bytes_field(5, names_of("x:0", "z:0"))
    model = sample(
        variables=[variable],
        savers=[saver.SerializeToString()],
        cond_context=[context],
    )
    editor = GraphEditor(model.graph)
    editor.rename("x", "fed")
    editor.rename("done", "over")
    after = envelope_of(finish(model, editor))
    found = {key: c.bytes_list.value for key, c in after.collection_def.items()}
    renamed = [wire.text(v) for n, _, v in wire.fields(found["variables"][0]) if n != 5]
    assert renamed == ["fed:0", "over", "fed:0", "y:0"]
    assert (5, wire.VARINT, 1) in list(wire.fields(found["variables"][0]))
    read = light("saver_pb2").SaverDef.FromString(found["savers"][0])
    assert (read.filename_tensor_name, read.restore_op_name) == ("fed:0", "over")
    assert found["cond_context"] == [
        wire.text_field(1, "ctx")
        + wire.text_field(2, "fed:0")
        + wire.text_field(3, "z:0")
        + wire.bytes_field(5, names_of("fed:0", "z:0"))
    ]
    assert list(after.collection_def["train_op"].node_list.value) == ["over"]
    assert after.signature_def["serving"].inputs["x"].name == "fed:0"
    assert after.signature_def["serving"].outputs["z"].name == "z:0"
    assert found["opaque"] == [b"\x00\xff\n"]


def test_a_removed_node_leaves_collections_and_contexts() -> None:
    context = wire.text_field(1, "ctx") + wire.bytes_field(5, names_of("x:0", "done", "z:0"))
    model = sample(
        variables=[wire.text_field(1, "done:0"), wire.text_field(1, "x:0")],
        cond_context=[context],
    )
    editor = GraphEditor(model.graph)
    editor.rename("done", "over")
    editor.remove("over")
    editor.add(Node("extra", "NoOp"))
    editor.remove("extra")
    after = envelope_of(finish(model, editor))
    assert list(after.collection_def["train_op"].node_list.value) == []
    assert list(after.collection_def["variables"].bytes_list.value) == [wire.text_field(1, "x:0")]
    assert after.collection_def["cond_context"].bytes_list.value == [
        wire.text_field(1, "ctx") + wire.bytes_field(5, names_of("x:0", "z:0"))
    ]


def test_a_replaced_node_keeps_its_place_in_collections() -> None:
    model = sample()
    editor = GraphEditor(model.graph)
    editor.remove("done")
    editor.add(Node("done", "NoOp"))
    after = envelope_of(finish(model, editor))
    assert list(after.collection_def["train_op"].node_list.value) == ["done"]


def test_nested_contexts_are_followed() -> None:
    inner = wire.text_field(1, "inner") + wire.bytes_field(9, names_of("a:0"))
    outer = wire.text_field(1, "outer") + wire.bytes_field(5, names_of("b:0"))
    raw = outer + wire.bytes_field(6, wire.bytes_field(2, inner))
    after = updated_context(raw, COND, Changes(copies=(("a", "a2"),), renamed={"b": "c"}))
    inner = wire.text_field(1, "inner") + wire.bytes_field(9, names_of("a:0", "a2:0"))
    outer = wire.text_field(1, "outer") + wire.bytes_field(5, names_of("c:0"))
    assert after == outer + wire.bytes_field(6, wire.bytes_field(2, inner))


def nested_contexts(levels: int) -> bytes:
    raw = wire.text_field(1, "innermost")
    for _ in range(levels):
        raw = wire.text_field(1, "w") + wire.bytes_field(12, wire.bytes_field(2, raw))
    return raw


def test_contexts_nested_too_deep_or_damaged_are_refused() -> None:
    assert updated_context(nested_contexts(100), WHILE, Changes()) == nested_contexts(100)
    for bad in (nested_contexts(101), nested_contexts(5000), b"\x0a\x7fx"):
        model = sample(while_context=[bad])
        editor = GraphEditor(model.graph)
        editor.clone("y", "y2", model.graph["y"].inputs, ())
        with pytest.raises(InvalidInputError, match="while_context"):
            finish(model, editor)


def test_a_damaged_envelope_is_found_when_it_is_read() -> None:
    whole = meta_graph(graph_def(("a", "NoOp", ()))).SerializeToString()
    for bad in (
        wire.bytes_field(3, b"\xff"),
        wire.bytes_field(4, wire.bytes_field(1, b"\xff\xfe")),
        wire.bytes_field(5, wire.bytes_field(2, b"\x0a\x7f")),
    ):
        with pytest.raises(InvalidInputError, match="'sample'"):
            decode(whole + bad, ".meta", "sample")


def test_damage_that_is_found_when_it_is_looked_for_names_the_file() -> None:
    meta = meta_graph(chain())
    meta.collection_def.clear()
    number_for_a_key = wire.bytes_field(4, wire.number_field(1, 7))
    model = decode(meta.SerializeToString() + number_for_a_key, ".meta", "odd.meta")
    with pytest.raises(InvalidInputError, match=r"odd\.meta.*damaged in a collection"):
        analyze(model, "clean-scopes")


def test_the_op_list_of_tf115_is_known() -> None:
    for name in ("StatelessRandomUniform", "Sub", "AddV2", "FusedBatchNormV3", "Identity"):
        assert op_definition(name)
    assert op_definition("NoSuchOp") is None


def test_tags_and_versions_are_read() -> None:
    model = load(FIXTURES / "widths.meta.gz")
    raw = gzip.decompress((FIXTURES / "widths.meta.gz").read_bytes())
    assert model.envelope is not None
    assert model.envelope.tensorflow_version == "1.15.5"
    expected = light("meta_graph_pb2").MetaGraphDef.FromString(raw)
    listed = expected.collection_def["train_op"].node_list.value
    assert model.envelope.collection("train_op") == tuple(listed)
    assert model.envelope.collection("nothing") == ()
