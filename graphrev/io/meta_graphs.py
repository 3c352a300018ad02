"""The parts of a MetaGraphDef around its graph (core/protobuf/meta_graph.proto).

They are kept as the bytes they were read as, and changed only where an edit makes them untrue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from graphrev.edits import AddNode, EditLog, RemoveNode, RenameNode, final_names
from graphrev.io import wire
from graphrev.io.contexts import Changes
from graphrev.io.listings import listed
from graphrev.io.op_defs import op_definition
from graphrev.io.protos import light
from graphrev.io.references import updated_fields
from graphrev.ir import Graph

INPUTS, OUTPUTS = 1, 2
"""Fields of a SignatureDef."""
_META_INFO, _GRAPH, _COLLECTION, _SIGNATURE = 1, 2, 4, 5
_STRIPPED_OPS = 2


@dataclass(frozen=True)
class Envelope:
    """A MetaGraphDef without its graph: its other fields in order, and the graph's place."""

    fields: tuple[wire.Field, ...]
    graph_place: int

    def encode(self, graph: bytes) -> bytes:
        """The MetaGraphDef around ``graph`` (a serialized GraphDef)."""
        parts = list(map(wire.encode_field, self.fields))
        parts.insert(self.graph_place, wire.bytes_field(_GRAPH, graph))
        return b"".join(parts)

    def check(self) -> None:
        """Reads everything once, so that damage is found before any work is done.

        Raises:
            WireError: a field is damaged.
        """
        from google.protobuf.message import DecodeError

        try:
            light("meta_graph_pb2").MetaGraphDef.FromString(self.encode(b""))
        except DecodeError:
            raise wire.WireError(
                0, "a collection, signature or saver that cannot be read, in the message"
            ) from None

    def signature_tensors(self, side: int) -> tuple[str, ...]:
        """The tensors that signatures name as inputs or outputs, sorted, without repeats."""
        return tuple(sorted(set(self._signature_tensors(side))))

    def _signature_tensors(self, side: int) -> Iterator[str]:
        for entry in self._all(_SIGNATURE):
            for info in _all(wire.chunk(_first(entry, 2, b"")), side):
                tensor = wire.chunk(_first(info, 2, b""))
                name = wire.text(_first(tensor, 1, b""))
                if name:
                    yield name

    def _all(self, number: int) -> Iterator[bytes]:
        return (wire.chunk(value) for n, _, value in self.fields if n == number)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the MetaGraphDef (``train``, ``serve``)."""
        info = next(self._all(_META_INFO), b"")
        return tuple(wire.text(tag) for tag in _all(info, 4))

    @property
    def tensorflow_version(self) -> str:
        """The TensorFlow that wrote it; empty when it does not say."""
        return wire.text(_first(next(self._all(_META_INFO), b""), 5, b""))

    def collection(self, name: str) -> tuple[str, ...]:
        """The names in a collection of nodes or strings; empty for other kinds."""
        for entry in self._all(_COLLECTION):
            if wire.text(_first(entry, 1, b"")) == name:
                listed = wire.chunk(_first(entry, 2, b""))
                return tuple(
                    wire.text(item)
                    for kind in (1, 2)
                    for group in _all(listed, kind)
                    for item in _all(group, 1)
                )
        return ()

    def after(self, edits: EditLog, graph: Graph) -> Envelope:
        """The envelope made true for ``graph``, which ``edits`` led to."""
        added = [edit for edit in edits if isinstance(edit, AddNode)]
        envelope = self._with_ops(dict.fromkeys(edit.node.op for edit in added))
        copies = tuple((edit.origin, edit.node.name) for edit in added if edit.origin is not None)
        others = (edit.node for edit in added if edit.origin is None)
        joined = tuple((n.name, tuple(f"{r.node}:{r.index}" for r in n.inputs)) for n in others)
        changes = Changes(copies, joined, final_names(edits), _removed(edits))
        if changes:
            envelope = replace(envelope, fields=updated_fields(envelope.fields, changes))
        fields = listed(envelope.fields, graph, edits)
        return envelope if fields is envelope.fields else replace(envelope, fields=fields)

    def _with_ops(self, ops: Iterable[str]) -> Envelope:
        """``stripped_op_list`` with the definitions of ``ops`` that it lacks, in its order."""
        return replace(self, fields=tuple(_with_ops(field, list(ops)) for field in self.fields))


def _removed(edits: EditLog) -> frozenset[str]:
    """The nodes that were there before ``edits`` and are gone after, by their first names."""
    first: dict[str, str | None] = {}
    gone: set[str] = set()
    for edit in edits:
        match edit:
            case AddNode():
                first[edit.node.name] = None
                gone.discard(edit.node.name)
            case RenameNode():
                first[edit.new] = first.pop(edit.old, edit.old)
            case RemoveNode():
                name = first.pop(edit.node.name, edit.node.name)
                if name is not None:
                    gone.add(name)
            case _:
                continue
    return frozenset(gone)


def _with_ops(field: wire.Field, ops: list[str]) -> wire.Field:
    number, kind, value = field
    if number != _META_INFO:
        return field
    return (
        number,
        kind,
        b"".join(
            wire.bytes_field(n, _merged(wire.chunk(v), ops))
            if n == _STRIPPED_OPS
            else wire.encode_field((n, k, v))
            for n, k, v in wire.fields(wire.chunk(value))
        ),
    )


def _merged(op_list: bytes, ops: list[str]) -> bytes:
    listed = {wire.text(_first(op, 1, b"")): op for op in _all(op_list, 1)}
    if not listed:
        return op_list
    for name in ops:
        definition = op_definition(name)
        if name not in listed and definition is not None:
            listed[name] = definition
    return b"".join(wire.bytes_field(1, listed[name]) for name in sorted(listed))


def open_meta_graph(data: bytes) -> tuple[bytes, Envelope]:
    """A MetaGraphDef's GraphDef bytes, and everything around it.

    Raises:
        WireError: the bytes are no MetaGraphDef.
    """
    kept: list[wire.Field] = []
    graph, place = b"", 0
    for field in wire.fields(data):
        if field[0] == _GRAPH:
            graph, place = wire.chunk(field[2]), len(kept)
        else:
            kept.append(field)
            place += not graph
    return graph, Envelope(tuple(kept), place)


def looks_like_meta_graph(data: bytes) -> bool:
    """Whether bytes that should be a GraphDef start with a MetaInfoDef (its field 2 lists ops)."""
    number, _, value = next(wire.fields(data), (0, 0, b""))
    if number != _META_INFO or isinstance(value, int):
        return False
    inner = {n: part for n, _, part in wire.fields(value)}
    ops = inner.get(_STRIPPED_OPS, b"")
    return isinstance(ops, bytes) and ops[:1] == b"\n" and len(ops) > 8


def _all(data: bytes, number: int) -> Iterator[bytes]:
    return (wire.chunk(value) for n, _, value in wire.fields(data) if n == number)


def _first(data: bytes, number: int, default: Any) -> Any:
    return next((value for n, _, value in wire.fields(data) if n == number), default)
