"""FunctionDef bytes <-> :class:`~graphrev.ir.Function` (core/framework/function.proto)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from graphrev.io import wire
from graphrev.io.attr_values import decode_entry, encode_entries
from graphrev.io.node_defs import decode_node, encode_node, spell_tensor
from graphrev.ir import Argument, AttrValue, DType, Function, Node, Shape, TensorRef

_SIGNATURE, _NODE, _RET, _ATTR, _CONTROL_RET, _ARG_ATTR, _RESOURCE_ID = 1, 3, 4, 5, 6, 7, 8
_CONTROL_OUTPUT = 20
"""Field of the OpDef that lists ``control_returns``."""


class BodyInputs:
    """Parses the input strings of a function body: ``arg``, ``node:port``, ``node:port:1``."""

    def tensor(self, spelled: bytes) -> TensorRef:
        """The tensor or argument that ``spelled`` names.

        Raises:
            WireError: the string is empty or no UTF-8.
        """
        return parse_body_tensor(wire.text(spelled))


def parse_body_tensor(spelled: str) -> TensorRef:
    """The tensor that a function body's input or ``ret`` entry names.

    Raises:
        WireError: the string is empty.
    """
    node, _, rest = spelled.partition(":")
    if not node:
        raise wire.WireError(0, "an input without a name")
    port, colon, index = rest.partition(":")
    if colon and index.isascii() and index.isdigit():
        return TensorRef(node, int(index), port)
    if port.isascii() and port.isdigit():
        return TensorRef(node, int(port))
    return TensorRef(node, 0, port)


def decode_library_function(raw: bytes) -> Function:
    """The function that a FunctionDef describes.

    Raises:
        WireError: the bytes are no FunctionDef.
    """
    signature = b""
    nodes: dict[str, Node] = {}
    returns: dict[str, TensorRef] = {}
    controls: dict[str, str] = {}
    attrs: dict[str, AttrValue] = {}
    about: dict[int, Argument] = {}
    for number, _, value in wire.fields(raw):
        if number == _SIGNATURE:
            signature = wire.chunk(value)
        elif number == _NODE:
            node = decode_node(wire.chunk(value), BodyInputs())
            nodes[node.name] = node
        elif number == _RET:
            key, tensor = _string_entry(wire.chunk(value))
            returns[key] = parse_body_tensor(tensor)
        elif number == _CONTROL_RET:
            key, control = _string_entry(wire.chunk(value))
            controls[key] = control
        elif number == _ATTR:
            key, attr = decode_entry(wire.chunk(value))
            attrs[key] = attr
        elif number in (_ARG_ATTR, _RESOURCE_ID):
            _note_argument(about, number, wire.chunk(value))
    name, inputs, outputs, stateful, extra = _decode_signature(signature)
    return Function(
        name,
        _with_notes(inputs, about),
        outputs,
        MappingProxyType(nodes),
        MappingProxyType(returns),
        MappingProxyType(controls),
        MappingProxyType(attrs),
        stateful,
        raw,
        extra,
    )


def _note_argument(about: dict[int, Argument], number: int, raw: bytes) -> None:
    """Files an entry of ``arg_attr`` or ``resource_arg_unique_id`` under its argument's place."""
    parts = {key: value for key, _, value in wire.fields(raw)}
    place = wire.signed(parts.get(1, 0))
    known = about.get(place, Argument("", None))
    if number == _ARG_ATTR:
        about[place] = replace(known, attrs=wire.chunk(parts.get(2, b"")))
    else:
        about[place] = replace(known, unique_id=wire.signed(parts.get(2, 0)))


def _with_notes(
    inputs: tuple[Argument, ...], about: Mapping[int, Argument]
) -> tuple[Argument, ...]:
    if not about:
        return inputs
    return tuple(
        replace(item, attrs=about[place].attrs, unique_id=about[place].unique_id)
        if place in about
        else item
        for place, item in enumerate(inputs)
    )


def _string_entry(raw: bytes) -> tuple[str, str]:
    parts = {number: wire.text(value) for number, _, value in wire.fields(raw)}
    return parts.get(1, ""), parts.get(2, "")


def _decode_signature(
    raw: bytes,
) -> tuple[str, tuple[Argument, ...], tuple[Argument, ...], bool, bytes]:
    """Name, inputs, outputs, statefulness and the rest of an OpDef (framework/op_def.proto)."""
    name, stateful, extra = "", False, b""
    inputs: list[Argument] = []
    outputs: list[Argument] = []
    for number, kind, value in wire.fields(raw):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            inputs.append(_decode_argument(wire.chunk(value)))
        elif number == 3:
            outputs.append(_decode_argument(wire.chunk(value)))
        elif number == 17:
            stateful = bool(value)
        elif number != _CONTROL_OUTPUT:
            extra += wire.encode_field((number, kind, value))
    return name, tuple(inputs), tuple(outputs), stateful, extra


def _decode_argument(raw: bytes) -> Argument:
    name, dtype, extra = "", None, b""
    for number, kind, value in wire.fields(raw):
        if number == 1:
            name = wire.text(value)
        elif number == 3:
            dtype = DType(wire.signed(value))
        else:
            extra += wire.encode_field((number, kind, value))
    return Argument(name, dtype, extra)


def argument_shape(argument: Argument) -> Shape | None:
    """The shape that ``arg_attr`` declares an argument with, if it does (``_output_shapes``)."""
    for number, _, value in wire.fields(argument.attrs or b""):
        key, listed = decode_entry(wire.chunk(value)) if number == 1 else ("", None)
        if key == "_output_shapes" and isinstance(listed, tuple) and len(listed) == 1:
            return listed[0] if isinstance(listed[0], Shape) else None
    return None


def encode_library_function(function: Function) -> bytes:
    """The function's FunctionDef: the very bytes it was read from, unless it was changed."""
    if function.raw is not None:
        return function.raw
    parts = [wire.bytes_field(_SIGNATURE, _encode_signature(function))]
    parts.extend(wire.bytes_field(_NODE, encode_node(n)) for n in function.nodes.values())
    parts.extend(_entries(_RET, function.returns, spell_body_tensor))
    parts.append(encode_entries(_ATTR, sorted(function.attrs.items())))
    parts.extend(_entries(_CONTROL_RET, function.control_returns, str))
    for place, item in enumerate(function.inputs):
        head = wire.number_field(1, place) if place else b""
        if item.attrs is not None:
            parts.append(wire.bytes_field(_ARG_ATTR, head + wire.bytes_field(2, item.attrs)))
        if item.unique_id is not None:
            number = wire.number_field(2, item.unique_id)
            parts.append(wire.bytes_field(_RESOURCE_ID, head + number))
    return b"".join(parts)


def spell_body_tensor(ref: TensorRef) -> str:
    """A tensor as ``ret`` entries spell it."""
    return spell_tensor(ref) if ref.port or ref.index else ref.node


def _entries(number: int, items: object, spell: Callable[..., str]) -> list[bytes]:
    assert isinstance(items, MappingProxyType | dict)
    return [
        wire.bytes_field(number, wire.text_field(1, key) + wire.text_field(2, spell(value)))
        for key, value in items.items()
    ]


def _encode_signature(function: Function) -> bytes:
    parts = [wire.text_field(1, function.name)]
    for number, arguments in ((2, function.inputs), (3, function.outputs)):
        parts.extend(wire.bytes_field(number, _encode_argument(arg)) for arg in arguments)
    parts.extend(wire.text_field(_CONTROL_OUTPUT, key) for key in function.control_returns)
    if function.stateful:
        parts.append(wire.number_field(17, 1))
    parts.append(function.extra)
    return b"".join(parts)


def _encode_argument(argument: Argument) -> bytes:
    kind = b"" if argument.dtype is None else wire.number_field(3, int(argument.dtype))
    return wire.text_field(1, argument.name) + kind + argument.extra
