"""Names that a MetaGraphDef mentions outside its graph, followed through edits of the graph.

* A copy that joins a ``while_loop`` or ``cond`` must be listed in that context's values, or the
  imported graph cannot be differentiated again (core/protobuf/control_flow.proto).
* A renamed node is renamed in collections, contexts, signatures and the saver.
* A removed node leaves collections and contexts: importing looks up every name they list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrev.errors import InvalidInputError, printable
from graphrev.io import wire
from graphrev.io.contexts import CONTEXTS, Changes, updated_context
from graphrev.io.protos import light

_SAVER, _COLLECTION, _SIGNATURE = 3, 4, 5
_SAVERS = "savers"
VARIABLES = frozenset(
    "variables trainable_variables local_variables model_variables moving_average_variables "
    "global_step concatenated_variables".split()
)
"""Collections of VariableDefs (python/ops/variables.py, "register_proto_function")."""
_VARIABLE_NAMES = frozenset({1, 2, 3, 6})
"""Fields of a VariableDef that name tensors or ops (core/framework/variable.proto)."""


def updated_fields(fields: tuple[wire.Field, ...], changes: Changes) -> tuple[wire.Field, ...]:
    """The fields of a MetaGraphDef with references brought up to date.

    Args:
        fields: all fields but the graph.
        changes: what happened to the nodes.

    Raises:
        InvalidInputError: a collection that mentions nodes is damaged.
    """
    return tuple(_updated(field, changes) for field in fields)


def _updated(field: wire.Field, changes: Changes) -> wire.Field:
    number, kind, value = field
    if number == _COLLECTION:
        return number, kind, _collection(wire.chunk(value), changes)
    if not changes.renamed:
        return field
    if number == _SAVER:
        return number, kind, _saver(wire.chunk(value), changes.renamed)
    return (number, kind, _signature(wire.chunk(value), changes)) if number == _SIGNATURE else field


def _saver(data: bytes, renamed: Mapping[str, str]) -> bytes:
    saver: Any = light("saver_pb2").SaverDef.FromString(data)
    for key in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
        node, colon, index = getattr(saver, key).partition(":")
        setattr(saver, key, f"{renamed.get(node, node)}{colon}{index}")
    return saver.SerializeToString(deterministic=True)


def _signature(data: bytes, changes: Changes) -> bytes:
    entry: Any = light("meta_graph_pb2").MetaGraphDef.SignatureDefEntry.FromString(data)
    for side in (entry.value.inputs, entry.value.outputs):
        for info in side.values():
            info.name = changes.tensor(info.name)
    return entry.SerializeToString(deterministic=True)


def _collection(data: bytes, changes: Changes) -> bytes:
    entry: Any = light("meta_graph_pb2").MetaGraphDef.CollectionDefEntry.FromString(data)
    before = entry.SerializeToString(deterministic=True)
    nodes, listed = entry.value.node_list.value, entry.value.bytes_list.value
    if nodes:
        nodes[:] = [changes.tensor(name) for name in nodes if changes.keeps(name)]
    if listed:
        listed[:] = _serialized(entry.key, list(listed), changes)
    after: bytes = entry.SerializeToString(deterministic=True)
    return data if after == before else after


def _serialized(collection: str, listed: list[bytes], changes: Changes) -> list[bytes]:
    """The items of a collection of serialized messages."""
    layout = CONTEXTS.get(collection)
    try:
        if layout is not None:
            return [updated_context(raw, layout, changes) for raw in listed]
        if collection in VARIABLES:
            return [_variable(raw, changes) for raw in listed if _is_kept(raw, changes)]
    except wire.WireError as error:
        raise InvalidInputError(
            f"The collection '{printable(collection)}' cannot be read: {error}. The file may be "
            "damaged: copy or export it again."
        ) from None
    if collection == _SAVERS and changes.renamed:
        return [_saver(raw, changes.renamed) for raw in listed]
    return listed


def _variable(raw: bytes, changes: Changes) -> bytes:
    return b"".join(
        wire.bytes_field(number, changes.tensor(wire.text(value)).encode("utf-8"))
        if number in _VARIABLE_NAMES
        else wire.encode_field((number, kind, value))
        for number, kind, value in wire.fields(raw)
    )


def _is_kept(raw: bytes, changes: Changes) -> bool:
    return all(changes.keeps(wire.text(value)) for n, _, value in wire.fields(raw) if n == 1)
