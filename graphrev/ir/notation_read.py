"""Reads the text notation (see :mod:`graphrev.ir.notation`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from graphrev.ir.graph import Argument, Function, Graph, Versions
from graphrev.ir.node import Node, TensorRef
from graphrev.ir.notation_tokens import Tokens
from graphrev.ir.notation_values import read_attrs, read_dtype

_T = TypeVar("_T")


def from_text(text: str) -> Graph:
    """The graph that ``text`` spells; no node and no function has ``raw`` bytes.

    Raises:
        InvalidInputError: a syntax error, or a name given twice, with line and column and what was
            expected there.
    """
    tokens = Tokens(text)
    try:
        return _graph(tokens)
    except RecursionError:
        tokens.fail("function attributes nested less deeply")


def _graph(tokens: Tokens) -> Graph:
    versions, extra, library_extra = _head(tokens)
    nodes: dict[str, Node] = {}
    functions: dict[str, Function] = {}
    while tokens.next_line():
        if tokens.peek() == "function" and tokens.peek_after() != "=":
            tokens.expect("function")
            _add(tokens, functions, "function", _function)
        else:
            _add(tokens, nodes, "node", _node)
    return Graph(
        MappingProxyType(nodes), MappingProxyType(functions), versions, extra, library_extra
    )


def _head(tokens: Tokens) -> tuple[Versions, bytes, bytes]:
    tokens.next_line()
    tokens.expect("graph")
    numbers: dict[str, int] = {}
    data: dict[str, bytes] = {}
    bad: tuple[int, ...] = ()
    while tokens.peek():
        key = tokens.peek()
        if key in ("producer", "min_consumer"):
            numbers[key] = _given(tokens, Tokens.integer)
        elif key in ("extra", "library_extra"):
            data[key] = _given(tokens, Tokens.hex)
        elif key == "bad_consumers":
            bad = _given(tokens, _integers)
        else:
            tokens.fail("producer, min_consumer, bad_consumers, extra or library_extra")
    versions = Versions(numbers.get("producer", 0), numbers.get("min_consumer", 0), bad)
    return versions, data.get("extra", b""), data.get("library_extra", b"")


def _given(tokens: Tokens, read: Callable[[Tokens], _T]) -> _T:
    tokens.name()
    tokens.expect("=")
    return read(tokens)


def _integers(tokens: Tokens) -> tuple[int, ...]:
    tokens.expect("[")
    return tuple([tokens.integer() for _ in tokens.items("]")])


def _add(
    tokens: Tokens, known: dict[str, _T], what: str, read: Callable[[Tokens, str], _T]
) -> None:
    """Reads a name and what it is the name of."""
    at = tokens.at
    name = tokens.name(f"the name of a {what}")
    if name in known:
        tokens.fail(f"a {what} name that is not used above", at)
    known[name] = read(tokens, name)


def _node(tokens: Tokens, name: str) -> Node:
    tokens.expect("=")
    op = tokens.name("an op")
    tokens.expect("(")
    inputs: list[TensorRef] = []
    controls: list[str] = []
    for _ in tokens.items(")"):
        if tokens.accept("^"):
            controls.append(tokens.name())
        elif controls:
            tokens.fail("'^' (control inputs come last)")
        else:
            inputs.append(_tensor(tokens))
    attrs = read_attrs(tokens) if tokens.peek() == "{" else {}
    device = tokens.string() if tokens.accept("@") else ""
    extra = tokens.hex() if tokens.accept("!") else b""
    tokens.end_line()
    return Node(name, op, tuple(inputs), tuple(controls), device, MappingProxyType(attrs), extra)


def _tensor(tokens: Tokens) -> TensorRef:
    node = tokens.name("an input")
    if not tokens.accept(":"):
        return TensorRef(node)
    if tokens.is_integer() and tokens.peek_after() != ":":
        return TensorRef(node, tokens.integer())
    port = tokens.name("an output's number or name")
    return TensorRef(node, tokens.integer() if tokens.accept(":") else 0, port)


def _function(tokens: Tokens, name: str) -> Function:
    inputs = _arguments(tokens)
    tokens.expect("=>")
    outputs = _arguments(tokens)
    stateful = tokens.accept("stateful")
    attrs = read_attrs(tokens) if tokens.peek() == "{" and tokens.peek_after() else {}
    tokens.expect("{")
    tokens.end_line()
    body = _Body()
    while _in_body(tokens):
        body.read_line(tokens)
    return Function(
        name,
        inputs,
        outputs,
        MappingProxyType(body.nodes),
        MappingProxyType(body.returns),
        MappingProxyType(body.controls),
        MappingProxyType(attrs),
        stateful,
    )


def _arguments(tokens: Tokens) -> tuple[Argument, ...]:
    found: list[Argument] = []
    tokens.expect("(")
    for _ in tokens.items(")"):
        name = tokens.name("an argument")
        tokens.expect(":")
        found.append(Argument(name, None if tokens.accept("?") else read_dtype(tokens)))
    return tuple(found)


def _in_body(tokens: Tokens) -> bool:
    """Moves on to the next line of a function; whether there is one before its ``}``."""
    if not tokens.next_line():
        tokens.fail("'}' that ends the function")
    if not tokens.accept("}"):
        return True
    tokens.end_line()
    return False


@dataclass
class _Body:
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    returns: dict[str, TensorRef] = field(default_factory=dict[str, TensorRef])
    controls: dict[str, str] = field(default_factory=dict[str, str])

    def read_line(self, tokens: Tokens) -> None:
        keyword = tokens.peek() if tokens.peek_after() != "=" else ""
        if keyword == "return":
            tokens.expect(keyword)
            _add(tokens, self.returns, "return", _returned)
        elif keyword == "control_return":
            tokens.expect(keyword)
            _add(tokens, self.controls, "control return", _control_returned)
        else:
            _add(tokens, self.nodes, "node", _node)


def _returned(tokens: Tokens, _: str) -> TensorRef:
    tokens.expect("=")
    tensor = _tensor(tokens)
    tokens.end_line()
    return tensor


def _control_returned(tokens: Tokens, _: str) -> str:
    tokens.expect("=")
    source = tokens.name()
    tokens.end_line()
    return source
