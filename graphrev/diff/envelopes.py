"""What differs beside the graph: signatures, collections, variables, versions, meta information."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphrev.diff.facts import variables
from graphrev.diff.graph_diff import EntryChange, Status
from graphrev.diff.notation import short_name
from graphrev.io import wire
from graphrev.io.model import Model
from graphrev.ir import Graph
from graphrev.ir.notation import value_to_text

_META_INFO, _SAVER, _COLLECTION, _SIGNATURE, _ASSET, _OBJECTS = 1, 3, 4, 5, 6, 7
_OTHER = {_SAVER: "saver_def", _ASSET: "asset_file_def", _OBJECTS: "object_graph_def"}
_SHOWN = 50


@dataclass
class _Contents:
    """A MetaGraphDef's parts as text: items by key, by kind."""

    collections: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    signatures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    stripped_ops: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    meta: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


def changed_entries(before: Model, after: Model) -> tuple[EntryChange, ...]:
    """Every signature, collection, variable, version and other field that differs."""
    found = [*_versions(before.graph, after.graph), *_variables(before.graph, after.graph)]
    if before.envelope is None or after.envelope is None:
        return tuple(found)
    left, right = _contents(before), _contents(after)
    found += _compared("signature", left.signatures, right.signatures)
    found += _compared("collection", left.collections, right.collections)
    found += _compared("stripped_op", left.stripped_ops, right.stripped_ops)
    found += _compared("meta", left.meta, right.meta)
    return tuple(found)


def envelope_lines(model: Model) -> Iterator[str]:
    """Everything around the graph, a line for each item, sorted by kind and key."""
    if model.envelope is None:
        return
    found = _contents(model)
    kinds = (
        ("meta", found.meta),
        ("signature", found.signatures),
        ("collection", found.collections),
        ("stripped_op", found.stripped_ops),
    )
    for kind, entries in kinds:
        for key, items in sorted(entries.items()):
            yield from (f"{kind} {short_name(key)}: {item}" for item in items)


def _versions(before: Graph, after: Graph) -> list[EntryChange]:
    def items(graph: Graph) -> dict[str, list[str]]:
        versions = graph.versions
        return {
            "producer": [str(versions.producer)],
            "min_consumer": [str(versions.min_consumer)],
            "bad_consumers": [str(number) for number in versions.bad_consumers],
            "graph_extra": [_brief(graph.extra)],
            "library_extra": [_brief(graph.library_extra)],
        }

    return _compared("version", items(before), items(after))


def _variables(before: Graph, after: Graph) -> list[EntryChange]:
    def items(graph: Graph) -> dict[str, list[str]]:
        return {
            name: [f"{'?' if dtype is None else value_to_text(dtype)} {value_to_text(shape)}"]
            for name, (dtype, shape) in variables(graph).items()
        }

    return _compared("variable", items(before), items(after))


def _compared(
    kind: str, before: Mapping[str, list[str]], after: Mapping[str, list[str]]
) -> list[EntryChange]:
    found: list[EntryChange] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        status = Status.ADDED if old is None else Status.REMOVED if new is None else Status.CHANGED
        lines = tuple(_item_lines(old or [], new or []))
        found.append(EntryChange(kind, key, status, _said(old), _said(new), lines))
    return found


def _said(items: Sequence[str] | None) -> str | None:
    if items is None:
        return None
    return items[0] if len(items) == 1 else f"{len(items)} items"


def _item_lines(old: list[str], new: list[str]) -> Iterator[str]:
    """Items that went and came; in full order where only the order differs."""
    if len(old) == len(new) == 1:
        return
    had, has = set(old), set(new)
    gone = [f"- {item}" for item in old if item not in has]
    come = [f"+ {item}" for item in new if item not in had]
    lines = [*gone, *come] or ["~ the order or the number of repeats"]
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"… and {len(lines) - _SHOWN} more"


def _contents(model: Model) -> _Contents:
    found = _Contents()
    assert model.envelope is not None
    for number, _, value in model.envelope.fields:
        data = wire.chunk(value) if not isinstance(value, int) else b""
        if number == _COLLECTION:
            key, inner = _entry(data)
            found.collections[key] = list(_collection_items(inner))
        elif number == _SIGNATURE:
            key, inner = _entry(data)
            found.signatures[key] = sorted(_signature_items(inner))
        elif number == _META_INFO:
            _read_meta_info(data, found)
        else:
            found.meta.setdefault(_OTHER.get(number, f"field {number}"), []).append(_brief(data))
    return found


def _entry(data: bytes) -> tuple[str, bytes]:
    """Key and value of a map entry."""
    parts = {number: value for number, _, value in wire.fields(data)}
    return _text(parts.get(1, b"")), wire.chunk(parts.get(2, b""))


def _collection_items(data: bytes) -> Iterator[str]:
    """A CollectionDef's items; kinds: 1 nodes, 2 bytes, 3 int64, 4 float, 5 Any."""
    for kind, _, group in wire.fields(data):
        for _, form, item in wire.fields(wire.chunk(group)):
            if kind == 3:
                yield from (str(number) for number in wire.packed(form, item))
            elif kind == 4:
                yield from (repr(number) for number in wire.floats(item))
            else:
                yield _text(item) if kind == 1 else _named_bytes(wire.chunk(item))


def _named_bytes(data: bytes) -> str:
    """A string, or a message (VariableDef, WhileContextDef …) by the name in its first field."""
    try:
        number, _, value = next(iter(wire.fields(data)))
        named = number == 1 and isinstance(value, bytes)
        list(wire.fields(data))
    except (wire.WireError, StopIteration):
        return _text(data)
    return f"{_text(value)} ({_brief(data)})" if named else _text(data)


def _signature_items(data: bytes) -> Iterator[str]:
    """A SignatureDef: 1 inputs, 2 outputs, 3 method."""
    for number, _, value in wire.fields(data):
        if number in (1, 2):
            key, info = _entry(wire.chunk(value))
            tensor = {n: v for n, _, v in wire.fields(info)}
            name = _text(tensor[1]) if 1 in tensor else "a composite tensor"
            side = "input" if number == 1 else "output"
            yield f"{side} {short_name(key)} = {name} ({_brief(info)})"
        elif number == 3:
            yield f"method {_text(value)}"
        else:
            yield f"field {number} ({_brief(wire.chunk(value))})"


def _read_meta_info(data: bytes, found: _Contents) -> None:
    """A MetaInfoDef: 1 meta_graph_version, 2 stripped_op_list, 4 tags, 5 and 6 versions."""
    names = {1: "meta_graph_version", 4: "tags", 5: "tensorflow_version", 6: "tensorflow_git"}
    for number, _, value in wire.fields(data):
        if number == 2:
            for _, _, op in wire.fields(wire.chunk(value)):
                key, _ = _entry(wire.chunk(op))
                found.stripped_ops[key] = [_brief(wire.chunk(op))]
        else:
            text = str(value) if isinstance(value, int) else _text(value)
            found.meta.setdefault(names.get(number, f"meta_info field {number}"), []).append(text)


def _text(value: int | bytes) -> str:
    data = wire.chunk(value)
    try:
        return short_name(data.decode("utf-8"))
    except UnicodeDecodeError:
        return short_name(data.decode("latin-1"))


def _brief(data: bytes) -> str:
    """Bytes by their number and the start of their SHA-256."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()[:8]}" if data else "nothing"
