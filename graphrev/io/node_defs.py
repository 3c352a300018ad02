"""NodeDef bytes <-> :class:`~graphrev.ir.Node` (core/framework/node_def.proto).

Strings like ``"a:1"`` and ``"^b"`` stop here. Attributes are opened when somebody asks for them:
most nodes of a large graph are never looked at that closely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Protocol

from graphrev.errors import InvalidInputError, printable
from graphrev.io import wire
from graphrev.io.attr_values import decode_entry, encode_entries
from graphrev.ir import AttrValue, Node, TensorRef

_NAME, _OP, _INPUT, _DEVICE, _ATTR = range(1, 6)
_NAME_KEY, _OP_KEY, _INPUT_KEY, _DEVICE_KEY, _ATTR_KEY = (
    number << 3 | wire.BYTES for number in range(1, 6)
)
_CARET = b"^"


class LazyAttrs(Mapping[str, AttrValue]):
    """The attributes of a NodeDef, decoded on first use."""

    __slots__ = ("_decoded", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw: bytes = raw
        self._decoded: dict[str, AttrValue] | None = None

    def _items(self) -> dict[str, AttrValue]:
        if self._decoded is None:
            try:
                self._decoded = dict(
                    decode_entry(wire.chunk(value))
                    for number, _, value in wire.fields(self._raw)
                    if number == _ATTR
                )
            except wire.WireError as error:
                raise InvalidInputError(
                    f"The attributes of node '{_name(self._raw)}' cannot be read: {error}. The "
                    "file may be damaged: copy or export it again."
                ) from None
        return self._decoded

    def __getitem__(self, key: str) -> AttrValue:
        if self._decoded is None and key.encode() not in self._raw:
            raise KeyError(key)
        return self._items()[key]

    def __contains__(self, key: object) -> bool:
        if self._decoded is None and isinstance(key, str) and key.encode() not in self._raw:
            return False
        return key in self._items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._items())

    def __len__(self) -> int:
        return len(self._items())


def _name(raw: bytes) -> str:
    named = (wire.text(value) for number, _, value in wire.fields(raw) if number == _NAME)
    return printable(next(named, ""))


class InputNames:
    """Parses input strings of a GraphDef, sharing equal tensors among their readers."""

    def __init__(self) -> None:
        self._known: dict[bytes, TensorRef] = {}

    def tensor(self, spelled: bytes) -> TensorRef:
        """The tensor that ``b"name"`` or ``b"name:1"`` names.

        Raises:
            WireError: the string is empty or no UTF-8.
        """
        known = self._known.get(spelled)
        if known is None:
            known = self._known[spelled] = _parse_tensor(wire.text(spelled))
        return known


def _parse_tensor(spelled: str) -> TensorRef:
    head, colon, tail = spelled.rpartition(":")
    if colon and tail.isascii() and tail.isdigit():
        return TensorRef(intern(head), int(tail))
    if not spelled:
        raise wire.WireError(0, "an input without a name")
    return TensorRef(intern(spelled))


class InputParser(Protocol):
    """Parses the input strings of a graph or of a function body."""

    def tensor(self, spelled: bytes) -> TensorRef:
        """The tensor that ``spelled`` names."""
        ...


def decode_node(raw: bytes, inputs: InputParser) -> Node:
    """The node that a NodeDef describes.

    Raises:
        WireError: the bytes are no NodeDef.
    """
    name = op = device = b""
    data: list[TensorRef] = []
    controls: list[str] = []
    extra = b""
    for key, start, end in wire.spans(raw):
        if key == _INPUT_KEY:
            if raw[start : start + 1] == _CARET:
                controls.append(intern(wire.text(raw[start + 1 : end])))
            else:
                data.append(inputs.tensor(raw[start:end]))
        elif key == _ATTR_KEY:
            continue
        elif key == _NAME_KEY:
            name = raw[start:end]
        elif key == _OP_KEY:
            op = raw[start:end]
        elif key == _DEVICE_KEY:
            device = raw[start:end]
        else:
            extra += wire.respelled(key, raw[start:end])
    spelled = (intern(wire.text(part)) for part in (name, op, device))
    return Node(
        next(spelled),
        next(spelled),
        tuple(data),
        tuple(controls),
        next(spelled),
        LazyAttrs(raw),
        extra,
        raw,
    )


def encode_node(node: Node) -> bytes:
    """The node's NodeDef: the very bytes it was read from, unless it was changed."""
    if node.raw is not None:
        return node.raw
    parts = [wire.text_field(_NAME, node.name), wire.text_field(_OP, node.op)]
    parts.extend(wire.text_field(_INPUT, spell_tensor(ref)) for ref in node.inputs)
    parts.extend(wire.text_field(_INPUT, f"^{source}") for source in node.control_inputs)
    parts.append(wire.text_field(_DEVICE, node.device))
    parts.append(encode_entries(_ATTR, sorted(node.attrs.items())))
    parts.append(node.extra)
    return b"".join(parts)


def spell_tensor(ref: TensorRef) -> str:
    """A tensor as NodeDef inputs spell it."""
    if ref.port:
        return str(ref)
    return ref.node if ref.index == 0 else f"{ref.node}:{ref.index}"
