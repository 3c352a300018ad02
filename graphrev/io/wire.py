"""The protobuf wire format, as far as exact bytes need it.

A protobuf library may write a message back in another order than it was read (map entries, unknown
fields). Nodes that no pass touched must be written back byte for byte, so messages are split at
this level and only the pieces that matter are opened.
Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Union

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, Union[int, bytes]]
"""Field number, wire type, and the value: an int for varints, bytes for everything else."""


class WireError(ValueError):
    """The bytes are no protobuf message; ``offset`` is where reading stopped."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"{why} at byte {offset}")
        self.offset = offset


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in the order they were written.

    Raises:
        WireError: the bytes end in the middle of a field or are no message.
    """
    at, end = 0, len(data)
    while at < end:
        key = data[at]
        if key < 0x80:
            at += 1
        else:
            key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError(at, "a field with number 0")
        if kind == BYTES:
            if at < end and (size := data[at]) < 0x80:
                at += 1
            else:
                size, at = _varint(data, at)
            if at + size > end:
                raise WireError(at, f"field {number} is longer than what is left")
            yield number, BYTES, data[at : at + size]
            at += size
        else:
            value, at = _scalar(data, at, kind, number)
            yield number, kind, value


def spans(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The fields of a message as ``(key, start, end)``, nothing copied: for reading many of them.

    The key is the field number and wire type as they are written; a field that is no string or
    message spans its whole encoding after the key.

    Raises:
        WireError: the bytes end in the middle of a field or are no message.
    """
    at, size_of_all = 0, len(data)
    while at < size_of_all:
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _varint(data, at - 1)
        if key & 7 != BYTES:
            start = at
            _, at = _scalar(data, at, key & 7, key >> 3)
            yield key, start, at
            continue
        if at < size_of_all and (size := data[at]) < 0x80:
            at += 1
        else:
            size, at = _varint(data, at)
        end = at + size
        if end > size_of_all or key < 8:
            raise WireError(at, f"field {key >> 3} is longer than what is left")
        yield key, at, end
        at = end


def respelled(key: int, content: bytes) -> bytes:
    """A field as it was written, from what :func:`spans` says of it."""
    head = encode_varint(key)
    return head + (encode_varint(len(content)) if key & 7 == BYTES else b"") + content


def _scalar(data: bytes, at: int, kind: int, number: int) -> tuple[int | bytes, int]:
    if kind == VARINT:
        return _varint(data, at)
    size = {FIXED32: 4, FIXED64: 8}.get(kind)
    if size is None:
        raise WireError(at, f"field {number} has the wire type {kind}, which does not exist")
    if at + size > len(data):
        raise WireError(at, f"field {number} is cut off")
    return data[at : at + size], at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError(at, "a number that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def signed(value: int | bytes) -> int:
    """A varint read as int64 or int32.

    Raises:
        WireError: the field was no varint.
    """
    if isinstance(value, bytes):
        raise WireError(0, "bytes where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def chunk(value: int | bytes) -> bytes:
    """A length-delimited or fixed field's bytes.

    Raises:
        WireError: the field was a varint.
    """
    if isinstance(value, int):
        raise WireError(0, "a number where bytes belong")
    return value


def text(value: int | bytes) -> str:
    """A string field.

    Raises:
        WireError: the field is no UTF-8 text.
    """
    try:
        return chunk(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise WireError(error.start, "text that is not UTF-8") from None


def packed(kind: int, value: int | bytes) -> Iterator[int]:
    """The varints of a repeated number field, packed or not.

    Raises:
        WireError: a number does not end.
    """
    if kind == VARINT:
        yield signed(value)
        return
    data, at = chunk(value), 0
    while at < len(data):
        number, at = _varint(data, at)
        yield signed(number)


def floats(value: int | bytes) -> tuple[float, ...]:
    """The numbers of a repeated float field, packed or not.

    Raises:
        WireError: the bytes are no whole number of floats.
    """
    data = chunk(value)
    if len(data) % 4:
        raise WireError(0, "a cut-off list of floats")
    return struct.unpack(f"<{len(data) // 4}f", data)


def encode_varint(value: int) -> bytes:
    """A number as a varint; negative ones as their 64-bit two's complement."""
    if 0 <= value < len(_SHORT):
        return _SHORT[value]
    return _encode_long(value)


def _encode_long(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT = tuple(bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(1 << 14))
"""Varints of one and two bytes: nearly all there are."""


def number_field(number: int, value: int) -> bytes:
    """A varint field."""
    return encode_varint(number << 3) + encode_varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return encode_varint(number << 3 | BYTES) + encode_varint(len(value)) + value


def text_field(number: int, value: str) -> bytes:
    """A string field; nothing for the empty string, as proto3 writes it."""
    return bytes_field(number, value.encode("utf-8")) if value else b""


def float_field(number: int, value: float) -> bytes:
    """A float field."""
    return encode_varint(number << 3 | FIXED32) + struct.pack("<f", value)


def encode_field(field: Field) -> bytes:
    """A field as it was read."""
    number, kind, value = field
    if isinstance(value, int):
        return number_field(number, value)
    if kind == BYTES:
        return bytes_field(number, value)
    return encode_varint(number << 3 | kind) + value


def encode(parts: Iterable[Field]) -> bytes:
    """A message of fields as they were read."""
    return b"".join(map(encode_field, parts))
