"""Reads the text notation (see :mod:`graphrev.ir.notation`)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from types import MappingProxyType
from typing import NoReturn

from graphrev.errors import InvalidInputError, printable
from graphrev.ir.attrs import (
    AttrPlaceholder,
    AttrScalar,
    AttrValue,
    FunctionRef,
    OpaqueAttr,
    Shape,
    TensorValue,
)
from graphrev.ir.dtypes import DType
from graphrev.ir.graph import Argument, Function, Graph, Versions
from graphrev.ir.node import Node, TensorRef

_TOKEN = re.compile(
    r'[ \t]*(?P<token>"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_.\-][A-Za-z0-9_.\-/+]*|=>'
    r"|[=(){}\[\],:^@$!?*]|$)"
)
_INTEGER = re.compile(r"-?\d+")


def from_text(text: str) -> Graph:
    """The graph that ``text`` spells.

    Raises:
        InvalidInputError: a syntax error, with line and column and what was expected; two nodes of
            one name.
    """
    reader = _Reader(text)
    versions, extra, library_extra = _head(reader)
    nodes: dict[str, Node] = {}
    functions: dict[str, Function] = {}
    while reader.next_line():
        if reader.peek() == "function" and reader.peek_after() != "=":
            function = _function(reader)
            functions[function.name] = function
        else:
            _add(reader, nodes, _node(reader))
    return Graph(
        MappingProxyType(nodes), MappingProxyType(functions), versions, extra, library_extra
    )


class _Reader:
    """Tokens of one line at a time."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._number = -1
        self._line = ""
        self._at = 0
        self._token = ""
        self._start = 0

    def next_line(self) -> bool:
        """Moves on to the next line that is not blank; whether there is one."""
        while self._number + 1 < len(self._lines):
            self._number += 1
            self._line, self._at = self._lines[self._number], 0
            self._advance()
            if self._token:
                return True
        return False

    def _advance(self) -> None:
        match = _TOKEN.match(self._line, self._at)
        if match is None:
            self._start = self._at
            self.fail("a name, a value or punctuation")
        self._token = match["token"]
        self._start, self._at = match.start("token"), match.end()

    def peek(self) -> str:
        """The token to come; empty at the end of the line."""
        return self._token

    def peek_after(self) -> str:
        """The token after the one to come."""
        match = _TOKEN.match(self._line, self._at)
        return match["token"] if match else ""

    def take(self) -> str:
        """The token to come, which is consumed."""
        token = self._token
        self._advance()
        return token

    def accept(self, token: str) -> bool:
        """Consumes ``token`` if it is the one to come."""
        if self._token != token:
            return False
        self._advance()
        return True

    def expect(self, token: str) -> None:
        """Consumes ``token``, or fails."""
        if not self.accept(token):
            self.fail(f"'{token}'" if token else "the end of the line")

    def fail(self, expected: str) -> NoReturn:
        """Raises an error about the token to come."""
        found = printable(self._line[self._start : self._start + 20]) or "the end of the line"
        raise InvalidInputError(
            f"The notation is wrong at line {self._number + 1}, column {self._start + 1}: expected "
            f"{expected}, found '{found}'."
        )

    def name(self) -> str:
        """A plain or quoted name."""
        token = self._token
        if token.startswith('"'):
            return self.string()
        if not token or not re.match(r"[A-Za-z0-9_.\-]", token):
            self.fail("a name")
        return self.take()

    def string(self) -> str:
        """A quoted string."""
        if not self._token.startswith('"'):
            self.fail("a quoted string")
        try:
            text: str = json.loads(self._token)
        except ValueError:
            self.fail("a string with valid escapes")
        self._advance()
        return text

    def integer(self) -> int:
        """A whole number."""
        if not _INTEGER.fullmatch(self._token):
            self.fail("a whole number")
        return int(self.take())

    def hex(self) -> bytes:
        """Bytes as a quoted hexadecimal string."""
        spelled = self.string()
        try:
            return bytes.fromhex(spelled)
        except ValueError:
            self.fail("hexadecimal digits")

    def base64(self) -> bytes:
        """Bytes as a quoted base64 string."""
        spelled = self.string()
        try:
            return base64.b64decode(spelled, validate=True)
        except binascii.Error:
            self.fail("base64")

    def latin1(self) -> bytes:
        """Bytes as a quoted string of characters below 256."""
        try:
            return self.string().encode("latin-1")
        except UnicodeEncodeError:
            self.fail("a string of characters below 256")


def _head(reader: _Reader) -> tuple[Versions, bytes, bytes]:
    if not reader.next_line() or reader.peek() != "graph":
        reader.fail("'graph producer=… min_consumer=…'")
    reader.take()
    numbers = {"producer": 0, "min_consumer": 0}
    data = {"extra": b"", "library_extra": b""}
    bad: tuple[int, ...] = ()
    while reader.peek():
        key = reader.name()
        reader.expect("=")
        if key in numbers:
            numbers[key] = reader.integer()
        elif key in data:
            data[key] = reader.hex()
        elif key == "bad_consumers":
            bad = tuple(v for v in _list(reader) if isinstance(v, int))
        else:
            reader.fail("producer, min_consumer, bad_consumers, extra or library_extra")
    versions = Versions(numbers["producer"], numbers["min_consumer"], bad)
    return versions, data["extra"], data["library_extra"]


def _add(reader: _Reader, nodes: dict[str, Node], node: Node) -> None:
    if node.name in nodes:
        reader.fail(f"a new name; '{printable(node.name)}' was used above;")
    nodes[node.name] = node


def _node(reader: _Reader) -> Node:
    name = reader.name()
    reader.expect("=")
    op = reader.name()
    reader.expect("(")
    inputs: list[TensorRef] = []
    controls: list[str] = []
    while not reader.accept(")"):
        if inputs or controls:
            reader.expect(",")
        if reader.accept("^"):
            controls.append(reader.name())
        else:
            inputs.append(_tensor(reader))
    attrs = _attrs(reader) if reader.peek() == "{" else {}
    device = reader.string() if reader.accept("@") else ""
    extra = reader.hex() if reader.accept("!") else b""
    reader.expect("")
    return Node(name, op, tuple(inputs), tuple(controls), device, MappingProxyType(attrs), extra)


def _tensor(reader: _Reader) -> TensorRef:
    node = reader.name()
    if not reader.accept(":"):
        return TensorRef(node)
    if _INTEGER.fullmatch(reader.peek()) and reader.peek_after() != ":":
        return TensorRef(node, reader.integer())
    port = reader.name()
    return TensorRef(node, reader.integer() if reader.accept(":") else 0, port)


def _function(reader: _Reader) -> Function:
    reader.take()
    name = reader.name()
    inputs = _arguments(reader)
    reader.expect("=>")
    outputs = _arguments(reader)
    stateful = reader.accept("stateful")
    attrs = _attrs(reader) if reader.peek() == "{" and reader.peek_after() else {}
    reader.expect("{")
    reader.expect("")
    nodes: dict[str, Node] = {}
    returns: dict[str, TensorRef] = {}
    controls: dict[str, str] = {}
    while True:
        if not reader.next_line():
            reader.fail("'}' that ends the function")
        if reader.peek() == "}":
            reader.take()
            reader.expect("")
            break
        keyword = reader.peek() if reader.peek_after() != "=" else ""
        if keyword == "return":
            reader.take()
            key = reader.name()
            reader.expect("=")
            returns[key] = _tensor(reader)
        elif keyword == "control_return":
            reader.take()
            key = reader.name()
            reader.expect("=")
            controls[key] = reader.name()
        else:
            _add(reader, nodes, _node(reader))
    return Function(
        name,
        inputs,
        outputs,
        MappingProxyType(nodes),
        MappingProxyType(returns),
        MappingProxyType(controls),
        MappingProxyType(attrs),
        stateful,
    )


def _arguments(reader: _Reader) -> tuple[Argument, ...]:
    reader.expect("(")
    found: list[Argument] = []
    while not reader.accept(")"):
        if found:
            reader.expect(",")
        name = reader.name()
        reader.expect(":")
        found.append(Argument(name, None if reader.accept("?") else _dtype(reader)))
    return tuple(found)


def _attrs(reader: _Reader) -> dict[str, AttrValue]:
    reader.expect("{")
    attrs: dict[str, AttrValue] = {}
    while not reader.accept("}"):
        if attrs:
            reader.expect(",")
        key = reader.name()
        reader.expect("=")
        attrs[key] = _list(reader) if reader.peek() == "[" else _scalar(reader)
    return attrs


def _list(reader: _Reader) -> tuple[AttrScalar, ...]:
    reader.expect("[")
    items: list[AttrScalar] = []
    while not reader.accept("]"):
        if items:
            reader.expect(",")
        items.append(_scalar(reader))
    return tuple(items)


def _scalar(reader: _Reader) -> AttrScalar:
    token = reader.peek()
    if token.startswith('"'):
        return reader.latin1()
    if token == "$":
        reader.take()
        return AttrPlaceholder(reader.name())
    if token in ("true", "false"):
        return reader.take() == "true"
    if _INTEGER.fullmatch(token):
        return reader.integer()
    if reader.peek_after() in ("(", "["):
        return _composite(reader)
    return _float_or_dtype(reader)


def _float_or_dtype(reader: _Reader) -> AttrScalar:
    try:
        value = float(reader.peek())
    except ValueError:
        return _dtype(reader)
    reader.take()
    return value


def _dtype(reader: _Reader) -> DType:
    token = reader.peek().upper()
    base, is_ref = (token[:-4], True) if token.endswith("_REF") else (token, False)
    if base.startswith("UNKNOWN_") and base[8:].isdigit():
        value = int(base[8:])
    elif base in DType.__members__:
        value = int(DType[base])
    else:
        reader.fail("a value or an element type")
    reader.take()
    return DType(value + 100 if is_ref else value)


def _composite(reader: _Reader) -> AttrScalar:
    token = reader.peek()
    if token == "shape":
        return _shape(reader)
    if token == "opaque":
        reader.take()
        reader.expect("(")
        opaque = OpaqueAttr(reader.hex())
        reader.expect(")")
        return opaque
    if token == "tensor":
        reader.take()
        reader.expect("(")
        dtype = _dtype(reader)
        reader.expect(",")
        shape = _shape(reader)
        reader.expect(",")
        tensor = TensorValue(dtype, shape, reader.base64())
        reader.expect(")")
        return tensor
    if token == "func":
        reader.take()
        reader.expect("(")
        name = reader.name()
        reader.expect(",")
        function = FunctionRef(name, tuple(_attrs(reader).items()))
        reader.expect(")")
        return function
    reader.fail("shape[…], tensor(…), func(…) or opaque(…)")


def _shape(reader: _Reader) -> Shape:
    if reader.take() != "shape":
        reader.fail("shape[…]")
    reader.expect("[")
    if reader.accept("*"):
        reader.expect("]")
        return Shape(None)
    dims: list[int | None] = []
    while not reader.accept("]"):
        if dims:
            reader.expect(",")
        dims.append(None if reader.accept("?") else reader.integer())
    return Shape(tuple(dims))
