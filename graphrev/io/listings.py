"""Enters added nodes into the collections of a MetaGraphDef that they are marked with.

A variable is listed as a VariableDef (core/framework/variable.proto) in the collections that hold
such, by name (``"c1/mask:0"``) in all others, which is how TensorFlow writes both. What belongs to
a variable is found by what it does: its initializer assigns to it, its snapshot reads it. The mask
of a partition is a partition of its own (SaveSliceInfoDef), so that any Saver keeps them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphrev.edits import AddNode, EditLog, SetAttr
from graphrev.io import wire
from graphrev.io.protos import light
from graphrev.io.references import VARIABLES
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.marks import COLLECTIONS_ATTR, collections_of, kernel_of, role_of

_COLLECTION = 4
_NAME, _INITIALIZER, _SNAPSHOT, _SLICE, _IS_RESOURCE, _INITIAL, _TRAINABLE = 1, 2, 3, 4, 5, 6, 7
_FULL_NAME = 1
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_READS = frozenset({"Identity", "ReadVariableOp"})
_TRAINED = "trainable_variables"


def listed(fields: tuple[wire.Field, ...], graph: Graph, edits: EditLog) -> tuple[wire.Field, ...]:
    """The fields of a MetaGraphDef with marked nodes entered into its collections.

    Args:
        fields: all fields but the graph.
        graph: the graph that ``edits`` led to.
        edits: added nodes are entered, nodes that lost a mark are taken out again.
    """
    entered: dict[str, list[str]] = {}
    left: dict[str, set[str]] = {}
    for edit in edits:
        name = edit.node.name if isinstance(edit, AddNode) else None
        if isinstance(edit, SetAttr) and edit.key == COLLECTIONS_ATTR:
            name = edit.node
            for key in set(_names(edit.old)) - set(_names(edit.new)):
                left.setdefault(key, set()).add(f"{name}:0")
        if name is None or name not in graph:
            continue
        for key in collections_of(graph[name]):
            if name not in entered.setdefault(key, []):
                entered[key].append(name)
    if not entered and not left:
        return fields
    return _Listing(graph, fields).updated(entered, left)


def _names(stored: object) -> Iterable[str]:
    items = stored if isinstance(stored, tuple) else ()
    return (item.decode("utf-8", "replace") for item in items if isinstance(item, bytes))


class _Listing:
    """The collections of one MetaGraphDef."""

    def __init__(self, graph: Graph, fields: tuple[wire.Field, ...]) -> None:
        self._graph = graph
        self._fields = fields
        self._entries: dict[str, Any] = {}
        for number, _, value in fields:
            if number == _COLLECTION:
                entry = light("meta_graph_pb2").MetaGraphDef.CollectionDefEntry.FromString(
                    wire.chunk(value)
                )
                self._entries[entry.key] = entry

    def updated(
        self, entered: Mapping[str, list[str]], left: Mapping[str, set[str]]
    ) -> tuple[wire.Field, ...]:
        """The fields with ``entered`` added to and ``left`` taken out of collections."""
        for key, names in left.items():
            if key in self._entries and key not in VARIABLES:
                values = self._entries[key].value.node_list.value
                values[:] = [name for name in values if name not in names]
        trained = set(entered.get(_TRAINED, ()))
        for key, names in entered.items():
            if key in VARIABLES:
                self._enter_variables(key, names, trained)
            else:
                self._enter_nodes(key, names)
        return self._encoded(set(entered) | set(left))

    def _encoded(self, changed: set[str]) -> tuple[wire.Field, ...]:
        kept: list[wire.Field] = []
        written: set[str] = set()
        for field in self._fields:
            key = self._key(field)
            if key is None or key not in changed:
                kept.append(field)
            else:
                written.add(key)
                kept.extend(self._field(key))
        for key in sorted(changed - written):
            kept.extend(self._field(key))
        return tuple(kept)

    def _key(self, field: wire.Field) -> str | None:
        if field[0] != _COLLECTION:
            return None
        return next((wire.text(v) for n, _, v in wire.fields(wire.chunk(field[2])) if n == 1), "")

    def _field(self, key: str) -> Iterable[wire.Field]:
        """The collection's field; none for one that became empty."""
        entry = self._entries.get(key)
        if entry is not None and (entry.value.node_list.value or entry.value.bytes_list.value):
            yield _COLLECTION, wire.BYTES, entry.SerializeToString(deterministic=True)

    def _entry(self, key: str) -> Any:
        if key not in self._entries:
            kind = light("meta_graph_pb2").MetaGraphDef.CollectionDefEntry
            self._entries[key] = kind(key=key)
        return self._entries[key].value

    def _enter_nodes(self, key: str, names: Iterable[str]) -> None:
        values = self._entry(key).node_list.value
        for name in names:
            if self._is_op(name):
                values.append(name)
            elif f"{name}:0" not in values:
                values.append(f"{name}:0")

    def _is_op(self, name: str) -> bool:
        return self._graph[name].op == "NoOp"

    def _enter_variables(self, key: str, names: Iterable[str], trained: set[str]) -> None:
        values = self._entry(key).bytes_list.value
        slices = self._slices()
        for name in names:
            values.append(variable_def(self._graph, name, slices, trained=name in trained))

    def _slices(self) -> dict[str, bytes]:
        """The SaveSliceInfoDef of each partition, by the name of its variable."""
        found: dict[str, bytes] = {}
        for raw in self._entry("variables").bytes_list.value:
            inner = _parts(raw)
            if _SLICE in inner and _NAME in inner:
                name = wire.text(inner[_NAME]).partition(":")[0]
                found[name] = wire.chunk(inner[_SLICE])
        return found


def _parts(raw: bytes) -> dict[int, int | bytes]:
    """The fields of a VariableDef; none of what is no message, which is for TensorFlow to mind."""
    try:
        return {number: value for number, _, value in wire.fields(raw)}
    except wire.WireError:
        return {}


def variable_def(
    graph: Graph, name: str, slices: Mapping[str, bytes], *, trained: bool = False
) -> bytes:
    """A VariableDef of the variable ``name``.

    Args:
        slices: the SaveSliceInfoDef of each partition, by the name of its variable.
        trained: whether optimizers are to find it.
    """
    node = graph[name]
    assign, snapshot = _served(graph, node)
    initial = graph[assign].inputs[1] if assign else None
    texts = {_NAME: f"{name}:0", _INITIALIZER: assign, _SNAPSHOT: f"{snapshot}:0"}
    parts = [wire.bytes_field(n, text.encode()) for n, text in texts.items() if text]
    kernel = kernel_of(node) or ""
    if role_of(node) == "mask" and kernel in slices:
        parts.append(wire.bytes_field(_SLICE, _own_slice(slices[kernel], name, kernel)))
    if node.op == "VarHandleOp":
        parts.append(wire.number_field(_IS_RESOURCE, 1))
    if initial is not None:
        parts.append(wire.bytes_field(_INITIAL, f"{initial.node}:{initial.index}".encode()))
    if trained:
        parts.append(wire.number_field(_TRAINABLE, 1))
    return b"".join(parts)


def _served(graph: Graph, node: Node) -> tuple[str, str]:
    """The variable's initializer and the read that TensorFlow calls its snapshot."""
    assign = snapshot = ""
    for reader in graph.readers_of(TensorRef(node.name)):
        other = graph[reader]
        if other.op in _ASSIGNS and not assign and graph[other.inputs[1].node].op == "Const":
            assign = reader
        elif other.op in _READS and not snapshot and not other.control_inputs:
            snapshot = reader
    return assign, snapshot or node.name


def _own_slice(part: bytes, name: str, kernel: str) -> bytes:
    """The slice that a kernel is of a larger one, as that of its mask."""
    full = next((wire.text(v) for n, _, v in wire.fields(part) if n == _FULL_NAME), "")
    own = name.removesuffix(kernel.removeprefix(full))
    return b"".join(
        wire.bytes_field(n, own.encode()) if n == _FULL_NAME else wire.encode_field((n, k, v))
        for n, k, v in wire.fields(part)
    )
