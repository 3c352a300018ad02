"""AttrValue messages <-> plain Python values (core/framework/attr_value.proto)."""

from __future__ import annotations

from collections.abc import Iterable

from graphrev.io import wire
from graphrev.ir import (
    AttrPlaceholder,
    AttrScalar,
    AttrValue,
    DType,
    FunctionRef,
    OpaqueAttr,
    Shape,
    TensorValue,
)

_LIST, _S, _I, _F, _B, _TYPE, _SHAPE, _TENSOR, _PLACEHOLDER, _FUNC = range(1, 11)
DEEPEST = 100
"""Levels of functions in attributes of functions; more is no graph that TensorFlow writes."""
_LIST_FUNC = 9
"""Inside ``ListValue`` functions are field 9 (placeholders have no list form)."""


def decode_attr(raw: bytes, depth: int = 0) -> AttrValue:
    """The value of an AttrValue; what has no plain form is kept as its bytes.

    Args:
        raw: the serialized AttrValue.
        depth: how many functions it is nested in.

    Raises:
        WireError: the bytes are no message, or functions nest deeper than :data:`DEEPEST`.
    """
    parts = list(wire.fields(raw))
    if len(parts) != 1:
        return OpaqueAttr(raw)
    number, kind, value = parts[0]
    if number == _LIST:
        listed = _decode_list(wire.chunk(value), depth)
        return OpaqueAttr(raw) if listed is None else listed
    if number == _PLACEHOLDER:
        return AttrPlaceholder(wire.text(value))
    if number == _F and kind == wire.FIXED32:
        return wire.floats(value)[0]
    scalar = _decode_scalar(number, value, depth)
    return OpaqueAttr(raw) if scalar is None else scalar


def _decode_scalar(number: int, value: int | bytes, depth: int) -> AttrScalar | None:
    if number == _S:
        return wire.chunk(value)
    if number == _I:
        return wire.signed(value)
    if number == _B:
        return bool(value)
    if number == _TYPE:
        return DType(wire.signed(value))
    if number == _SHAPE:
        return decode_shape(wire.chunk(value))
    if number == _TENSOR:
        return decode_tensor(wire.chunk(value))
    return decode_function(wire.chunk(value), depth) if number == _FUNC else None


def _decode_list(raw: bytes, depth: int) -> tuple[AttrScalar, ...] | None:
    """A ListValue; ``None`` when it mixes kinds or holds something unknown."""
    items: list[AttrScalar] = []
    numbers: set[int] = set()
    for number, kind, value in wire.fields(raw):
        numbers.add(number)
        if len(numbers) > 1:
            return None
        if number in (_I, _B, _TYPE):
            items.extend(_number(number, item) for item in wire.packed(kind, value))
        elif number == _F:
            items.extend(wire.floats(value))
        else:
            known = number if number != _LIST_FUNC else _FUNC
            item = _decode_scalar(known, value, depth)
            if item is None or number == _FUNC:
                return None
            items.append(item)
    return tuple(items)


def _number(field: int, item: int) -> AttrScalar:
    return DType(item) if field == _TYPE else bool(item) if field == _B else item


def decode_shape(raw: bytes) -> Shape | None:
    """A TensorShapeProto; ``None`` when it says more than sizes (named dimensions)."""
    dims: list[int | None] = []
    unknown = False
    for number, _, value in wire.fields(raw):
        if number == 2:
            size = 0
            for inner, _, item in wire.fields(wire.chunk(value)):
                if inner != 1:
                    return None
                size = wire.signed(item)
            dims.append(None if size == -1 else size)
        elif number == 3:
            unknown = bool(value)
        else:
            return None
    return Shape(None if unknown else tuple(dims))


def decode_tensor(raw: bytes) -> TensorValue:
    """A TensorProto: type and shape are read, the content stays as it is."""
    dtype, shape = 0, Shape(())
    for number, _, value in wire.fields(raw):
        if number == 1:
            dtype = wire.signed(value)
        elif number == 2:
            shape = decode_shape(wire.chunk(value)) or Shape(None)
    return TensorValue(DType(dtype), shape, raw)


def decode_function(raw: bytes, depth: int = 0) -> FunctionRef | None:
    """A NameAttrList; ``None`` when it holds something unknown.

    Raises:
        WireError: the bytes are no NameAttrList, or functions nest deeper than :data:`DEEPEST`.
    """
    if depth >= DEEPEST:
        raise wire.WireError(0, f"functions nested in more than {DEEPEST} levels of attributes")
    name, attrs = "", list[tuple[str, AttrValue]]()
    for number, _, value in wire.fields(raw):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            attrs.append(decode_entry(wire.chunk(value), depth + 1))
        else:
            return None
    return FunctionRef(name, tuple(attrs))


def decode_entry(raw: bytes, depth: int = 0) -> tuple[str, AttrValue]:
    """An entry of ``map<string, AttrValue>``, inside ``depth`` functions.

    Raises:
        WireError: the bytes are no such entry.
    """
    key, value = "", b""
    for number, _, part in wire.fields(raw):
        if number == 1:
            key = wire.text(part)
        elif number == 2:
            value = wire.chunk(part)
    return key, decode_attr(value, depth)


def encode_entries(number: int, entries: Iterable[tuple[str, AttrValue]]) -> bytes:
    """Entries of a ``map<string, AttrValue>`` field, in the given order."""
    return b"".join(
        wire.bytes_field(
            number,
            wire.bytes_field(1, key.encode("utf-8")) + wire.bytes_field(2, encode_attr(value)),
        )
        for key, value in entries
    )


def encode_attr(value: AttrValue) -> bytes:
    """An AttrValue message."""
    if isinstance(value, OpaqueAttr):
        return value.raw
    if isinstance(value, AttrPlaceholder):
        return wire.bytes_field(_PLACEHOLDER, value.name.encode("utf-8"))
    if isinstance(value, tuple):
        return wire.bytes_field(_LIST, _encode_list(value))
    return _encode_scalar(value)


def _encode_scalar(value: AttrScalar) -> bytes:
    if isinstance(value, int):
        field = _TYPE if isinstance(value, DType) else _B if isinstance(value, bool) else _I
        return wire.number_field(field, int(value))
    match value:
        case float():
            return wire.float_field(_F, value)
        case bytes():
            return wire.bytes_field(_S, value)
        case Shape():
            return wire.bytes_field(_SHAPE, encode_shape(value))
        case TensorValue():
            return wire.bytes_field(_TENSOR, value.raw)
        case FunctionRef():
            return wire.bytes_field(_FUNC, encode_function(value))
        case AttrPlaceholder() | OpaqueAttr():
            return encode_attr(value)


def _encode_list(values: tuple[AttrScalar, ...]) -> bytes:
    """A ListValue; numbers are packed, as TensorFlow writes them."""
    if not values:
        return b""
    first = values[0]
    if isinstance(first, int):
        field = _TYPE if isinstance(first, DType) else _B if isinstance(first, bool) else _I
        packed = b"".join(wire.encode_varint(int(v)) for v in values if isinstance(v, int))
        return wire.bytes_field(field, packed)
    if isinstance(first, float):
        return wire.bytes_field(
            _F, b"".join(wire.float_field(1, v)[1:] for v in values if isinstance(v, float))
        )
    if isinstance(first, FunctionRef):
        return b"".join(
            wire.bytes_field(_LIST_FUNC, encode_function(v))
            for v in values
            if isinstance(v, FunctionRef)
        )
    return b"".join(map(_encode_scalar, values))


def encode_shape(shape: Shape) -> bytes:
    """A TensorShapeProto."""
    if shape.dims is None:
        return wire.number_field(3, 1)
    return b"".join(
        wire.bytes_field(2, wire.number_field(1, -1 if dim is None else dim) if dim != 0 else b"")
        for dim in shape.dims
    )


def encode_function(value: FunctionRef) -> bytes:
    """A NameAttrList."""
    return wire.text_field(1, value.name) + encode_entries(2, value.attrs)
