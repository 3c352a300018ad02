"""Writes the text notation (see :mod:`graphrev.ir.notation`)."""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Iterable, Iterator
from functools import cache

from graphrev.ir.attrs import (
    AttrPlaceholder,
    AttrValue,
    FunctionRef,
    OpaqueAttr,
    Shape,
    TensorValue,
)
from graphrev.ir.dtypes import REF_OFFSET, DType
from graphrev.ir.graph import Argument, Function, Graph
from graphrev.ir.node import Node, TensorRef

_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\-/>]*")
_TO_ESCAPE = re.compile(r"[^ !#-\[\]-~]")
"""The quote, the backslash, and everything beyond printable ASCII."""
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DTYPES = {int(dtype): dtype.name.lower() for dtype in DType}
_USUAL_NAN = struct.pack(">d", math.nan)


def to_text(graph: Graph) -> str:
    """The graph in the text notation."""
    return "".join(f"{line}\n" for line in _lines(graph))


def _lines(graph: Graph) -> Iterator[str]:
    versions = graph.versions
    head = f"graph producer={versions.producer} min_consumer={versions.min_consumer}"
    if versions.bad_consumers:
        head += f" bad_consumers=[{', '.join(map(str, versions.bad_consumers))}]"
    for key, data in (("extra", graph.extra), ("library_extra", graph.library_extra)):
        if data:
            head += f' {key}="{data.hex()}"'
    yield head
    for node in graph.nodes.values():
        yield node_to_text(node)
    for function in graph.functions.values():
        yield from _function(function)


def node_to_text(node: Node) -> str:
    """One node, on one line."""
    inputs = [*map(_tensor, node.inputs), *(f"^{name(c)}" for c in node.control_inputs)]
    line = f"{name(node.name)} = {name(node.op)}({', '.join(inputs)})"
    if node.attrs:
        line += f" {_attrs(node.attrs.items())}"
    if node.device:
        line += f" @{quoted(node.device)}"
    if node.extra:
        line += f' !"{node.extra.hex()}"'
    return line


def _function(function: Function) -> Iterator[str]:
    stateful = " stateful" if function.stateful else ""
    attrs = f" {_attrs(function.attrs.items())}" if function.attrs else ""
    inputs, outputs = _arguments(function.inputs), _arguments(function.outputs)
    yield f"function {name(function.name)}({inputs}) => ({outputs}){stateful}{attrs} {{"
    for node in function.nodes.values():
        yield f"  {node_to_text(node)}"
    for output, ref in function.returns.items():
        yield f"  return {name(output)} = {_tensor(ref)}"
    for output, node_name in function.control_returns.items():
        yield f"  control_return {name(output)} = {name(node_name)}"
    yield "}"


def _arguments(arguments: Iterable[Argument]) -> str:
    return ", ".join(
        f"{name(a.name)}: {'?' if a.dtype is None else _dtype(a.dtype)}" for a in arguments
    )


def _tensor(ref: TensorRef) -> str:
    if ref.port:
        return f"{name(ref.node)}:{name(ref.port)}:{ref.index}"
    return f"{name(ref.node)}:{ref.index}" if ref.index else name(ref.node)


def name(text: str) -> str:
    """A name, quoted unless it is plain."""
    return text if _PLAIN.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """A string in double quotes, on one line of printable ASCII."""
    return f'"{_TO_ESCAPE.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _attrs(attrs: Iterable[tuple[str, AttrValue]]) -> str:
    return "{" + ", ".join([f"{name(key)}={value_to_text(value)}" for key, value in attrs]) + "}"


def value_to_text(value: AttrValue) -> str:
    """An attribute value."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(value_to_text, value)) + "]"
    match value:
        case DType():
            return _dtype(value)
        case bool():
            return "true" if value else "false"
        case int():
            return repr(value)
        case float():
            return _float(value)
        case bytes():
            return quoted(value.decode("latin-1"))
        case _:
            return _composite(value)


def _composite(value: Shape | TensorValue | FunctionRef | AttrPlaceholder | OpaqueAttr) -> str:
    match value:
        case Shape():
            return _shape(value)
        case TensorValue():
            content = base64.b64encode(value.raw).decode("ascii")
            return f'tensor({_dtype(value.dtype)}, {_shape(value.shape)}, "{content}")'
        case FunctionRef():
            return f"func({name(value.name)}, {_attrs(value.attrs)})"
        case AttrPlaceholder():
            return f"${name(value.name)}"
        case OpaqueAttr():
            return f'opaque("{value.raw.hex()}")'


def _float(value: float) -> str:
    bits = struct.pack(">d", value)
    if math.isnan(value) and bits != _USUAL_NAN:
        return f'nan("{bits.hex()}")'
    return repr(value)


@cache
def _dtype(dtype: DType) -> str:
    """Spelled from the number alone: the name of an unknown type depends on what was met before."""
    number = int(dtype)
    if number in _DTYPES:
        return _DTYPES[number]
    base = _DTYPES.get(number - REF_OFFSET)
    return f"unknown_{number}" if base is None else f"{base}_ref"


def _shape(shape: Shape) -> str:
    if shape.dims is None:
        return "shape[*]"
    return "shape[" + ",".join("?" if dim is None else str(dim) for dim in shape.dims) + "]"
