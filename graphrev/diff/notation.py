"""Nodes and values in the text notation, cut to a length people can read."""

from __future__ import annotations

import hashlib

from graphrev.ir import AttrValue, Node, TensorValue
from graphrev.ir.notation import node_to_text, value_to_text
from graphrev.ir.notation_write import name, quoted

_VALUE, _NAME, _LINE = 120, 300, 2000


def short_value(value: AttrValue, limit: int = _VALUE) -> str:
    """An attribute value; a constant of many bytes by its type, shape and size alone."""
    if isinstance(value, TensorValue) and len(value.raw) > 48:
        kind = f"{value_to_text(value.dtype)}, {value_to_text(value.shape)}"
        return f"tensor({kind}, {len(value.raw)} bytes, sha256 {_mark(value.raw)})"
    if isinstance(value, bytes) and len(value) > limit:
        return f"{value_to_text(value[:limit])}…"
    text = value_to_text(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def short_name(text: str, limit: int = _NAME) -> str:
    """A name in the notation: one line of printable ASCII, cut in the middle when it is long."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 3 :]}"
    return name(text)


def short_node(node: Node) -> str:
    """A node on one line of limited length, its long attribute values shortened."""
    return _cut(node_line(node, _VALUE))


def node_line(node: Node, limit: int) -> str:
    """A node on one line: constants by the hash of their content, other values up to ``limit``."""
    if not any(_is_long(value) for value in node.attrs.values()):
        return node_to_text(node)
    line = node_to_text(node.evolve(attrs={}, device="", extra=b""))
    shown = ((name(key), short_value(value, limit)) for key, value in node.attrs.items())
    values = ", ".join(f"{key}={value}" for key, value in shown)
    line = f"{line} {{{values}}}"
    if node.device:
        line += f" @{quoted(node.device)}"
    return line


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _is_long(value: AttrValue) -> bool:
    if isinstance(value, TensorValue):
        return len(value.raw) > 48
    return isinstance(value, bytes | tuple) and len(value) > 12


def _cut(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[:_LINE]}…"
