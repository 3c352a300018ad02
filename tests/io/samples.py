"""Small graphs as protobuf messages, built without TensorFlow."""

from __future__ import annotations

from typing import Any

from graphrev.io import wire
from graphrev.io.protos import light

FLOAT = 1


def graph_def(*nodes: tuple[str, str, tuple[str, ...]]) -> Any:
    """A GraphDef of ``(name, op, inputs)``; every node has ``T`` and a device."""
    graph = light("graph_pb2").GraphDef()
    graph.versions.producer = 134
    for name, op, inputs in nodes:
        node = graph.node.add(name=name, op=op, input=list(inputs), device="/device:CPU:0")
        if op == "Placeholder":
            node.attr["dtype"].type = FLOAT
            node.attr["shape"].shape.dim.add().size = -1
            node.attr["shape"].shape.dim.add().size = 3
        elif op != "NoOp":
            node.attr["T"].type = FLOAT
    return graph


def chain() -> Any:
    """x -> Identity -> Neg, and a NoOp that waits for the last."""
    return graph_def(
        ("x", "Placeholder", ()),
        ("y", "Identity", ("x",)),
        ("z", "Neg", ("y",)),
        ("done", "NoOp", ("^z",)),
    )


def nested_function(levels: int) -> bytes:
    """A serialized AttrValue: a function whose attribute is a function, ``levels`` deep."""
    value = wire.bytes_field(10, wire.text_field(1, "leaf"))
    for _ in range(levels - 1):
        entry = wire.text_field(1, "body") + wire.bytes_field(2, value)
        value = wire.bytes_field(10, wire.text_field(1, "f") + wire.bytes_field(2, entry))
    return value


def node_with_attr(name: str, key: str, attr: bytes) -> bytes:
    """A GraphDef of one node with one attribute given as AttrValue bytes."""
    entry = wire.text_field(1, key) + wire.bytes_field(2, attr)
    node = wire.text_field(1, name) + wire.text_field(2, "NoOp") + wire.bytes_field(5, entry)
    return wire.bytes_field(1, node)


def meta_graph(graph: Any) -> Any:
    """A MetaGraphDef around ``graph`` with collections, a signature, a saver and an op list."""
    meta = light("meta_graph_pb2").MetaGraphDef()
    meta.meta_info_def.tags.append("train")
    meta.meta_info_def.tensorflow_version = "1.15.5"
    for name in ("Identity", "NoOp", "Placeholder"):
        meta.meta_info_def.stripped_op_list.op.add(name=name)
    meta.graph_def.CopyFrom(graph)
    meta.saver_def.filename_tensor_name = "save/Const:0"
    meta.saver_def.save_tensor_name = "save/control_dependency:0"
    meta.saver_def.restore_op_name = "save/restore_all"
    meta.collection_def["train_op"].node_list.value.append("done")
    meta.collection_def["numbers"].int64_list.value.extend([1, -2])
    meta.collection_def["rates"].float_list.value.append(0.5)
    meta.collection_def["opaque"].bytes_list.value.append(b"\x00\xff\n")
    signature = meta.signature_def["serving"]
    signature.inputs["x"].name = "x:0"
    signature.outputs["z"].name = "z:0"
    signature.method_name = "predict"
    return meta
