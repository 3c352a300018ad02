"""Names that a MetaGraphDef mentions outside its graph, followed through copies and renamings.

* A copy that joins a ``while_loop`` or ``cond`` must be listed in that context's values, or the
  imported graph cannot be differentiated again (core/protobuf/control_flow.proto).
* A renamed node is renamed in collections, contexts, signatures and the saver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphrev.errors import InvalidInputError
from graphrev.io import wire
from graphrev.io.contexts import CONTEXTS, renamed_tensor, updated_context
from graphrev.io.protos import light

_SAVER, _COLLECTION, _SIGNATURE = 3, 4, 5


def updated_fields(
    fields: tuple[wire.Field, ...],
    copies: Sequence[tuple[str, str]],
    renamed: Mapping[str, str],
) -> tuple[wire.Field, ...]:
    """The fields of a MetaGraphDef with references brought up to date.

    Args:
        fields: all fields but the graph.
        copies: ``(original, copy)`` for each node that was copied.
        renamed: new names by old name.
    """
    return tuple(_updated(field, copies, renamed) for field in fields)


def _updated(
    field: wire.Field, copies: Sequence[tuple[str, str]], renamed: Mapping[str, str]
) -> wire.Field:
    number, kind, value = field
    if number not in (_SAVER, _COLLECTION, _SIGNATURE):
        return field
    data = wire.chunk(value)
    if number == _COLLECTION:
        return number, kind, _collection(data, copies, renamed)
    return (number, kind, _signature_or_saver(number, data, renamed)) if renamed else field


def _signature_or_saver(number: int, data: bytes, renamed: Mapping[str, str]) -> bytes:
    if number == _SAVER:
        saver: Any = light("saver_pb2").SaverDef.FromString(data)
        for key in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
            setattr(saver, key, _renamed(getattr(saver, key), renamed))
        return saver.SerializeToString(deterministic=True)
    entry: Any = light("meta_graph_pb2").MetaGraphDef.SignatureDefEntry.FromString(data)
    for side in (entry.value.inputs, entry.value.outputs):
        for info in side.values():
            info.name = _renamed(info.name, renamed)
    return entry.SerializeToString(deterministic=True)


def _collection(
    data: bytes, copies: Sequence[tuple[str, str]], renamed: Mapping[str, str]
) -> bytes:
    entry: Any = light("meta_graph_pb2").MetaGraphDef.CollectionDefEntry.FromString(data)
    before = entry.SerializeToString(deterministic=True)
    listed = entry.value
    for index, name in enumerate(listed.node_list.value):
        listed.node_list.value[index] = _renamed(name, renamed)
    _update_contexts(entry.key, listed.bytes_list.value, copies, renamed)
    after: bytes = entry.SerializeToString(deterministic=True)
    return data if after == before else after


def _update_contexts(
    collection: str, listed: Any, copies: Sequence[tuple[str, str]], renamed: Mapping[str, str]
) -> None:
    layout = CONTEXTS.get(collection)
    if layout is None:
        return
    try:
        for index, raw in enumerate(listed):
            listed[index] = updated_context(raw, layout, copies, renamed)
    except wire.WireError as error:
        raise InvalidInputError(
            f"The collection '{collection}' cannot be read: {error}. The file may be damaged: copy "
            "or export it again."
        ) from None


def _renamed(name: str, renamed: Mapping[str, str]) -> str:
    return renamed_tensor(name, renamed)
