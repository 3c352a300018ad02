"""Reads attribute values of the text notation (see :mod:`graphrev.ir.notation`)."""

from __future__ import annotations

import math
import re
import struct

from graphrev.ir.attrs import (
    AttrPlaceholder,
    AttrScalar,
    AttrValue,
    FunctionRef,
    OpaqueAttr,
    Shape,
    TensorValue,
)
from graphrev.ir.dtypes import REF_OFFSET, DType
from graphrev.ir.notation_tokens import Tokens

_FLOAT = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+)|inf)|nan")
_UNKNOWN = re.compile(r"unknown_(-?[0-9]{1,20})")
_DTYPES = {dtype.name.lower(): dtype for dtype in DType}
_WORDS = {"true": True, "false": False}


def read_attrs(tokens: Tokens) -> dict[str, AttrValue]:
    """``{key=value, ...}``, each key once."""
    found: dict[str, AttrValue] = {}
    tokens.expect("{")
    for _ in tokens.items("}"):
        at = tokens.at
        key, value = _entry(tokens)
        if key in found:
            tokens.fail("an attribute that was not given yet", at)
        found[key] = value
    return found


def _entry(tokens: Tokens) -> tuple[str, AttrValue]:
    key = tokens.name("the name of an attribute")
    tokens.expect("=")
    return key, _list(tokens) if tokens.accept("[") else _scalar(tokens)


def _list(tokens: Tokens) -> tuple[AttrScalar, ...]:
    return tuple([_scalar(tokens) for _ in tokens.items("]")])


def _scalar(tokens: Tokens) -> AttrScalar:
    token = tokens.peek()
    if token.startswith('"'):
        return tokens.latin1()
    if tokens.accept("$"):
        return AttrPlaceholder(tokens.name())
    if tokens.is_integer():
        return tokens.integer()
    if tokens.peek_after() in ("(", "["):
        return _composite(tokens)
    if token in _WORDS or _FLOAT.fullmatch(token):
        tokens.accept(token)
        return _WORDS[token] if token in _WORDS else float(token)
    return read_dtype(tokens, "an attribute value")


def _composite(tokens: Tokens) -> AttrScalar:
    if tokens.peek() == "shape":
        return _shape(tokens)
    if tokens.accept("opaque"):
        tokens.expect("(")
        value = OpaqueAttr(tokens.hex())
    elif tokens.accept("tensor"):
        value = _tensor(tokens)
    elif tokens.accept("func"):
        value = _function(tokens)
    elif tokens.accept("nan"):
        value = _nan(tokens)
    else:
        tokens.fail("shape[...], tensor(...), func(...), opaque(...) or nan(...)")
    tokens.expect(")")
    return value


def _tensor(tokens: Tokens) -> TensorValue:
    tokens.expect("(")
    dtype = read_dtype(tokens)
    tokens.expect(",")
    shape = _shape(tokens)
    tokens.expect(",")
    return TensorValue(dtype, shape, tokens.base64())


def _function(tokens: Tokens) -> FunctionRef:
    """A function attribute, which may give an attribute twice: it keeps all that it was read."""
    tokens.expect("(")
    name = tokens.name()
    tokens.expect(",")
    tokens.expect("{")
    return FunctionRef(name, tuple([_entry(tokens) for _ in tokens.items("}")]))


def _nan(tokens: Tokens) -> float:
    tokens.expect("(")
    at = tokens.at
    bits = tokens.hex()
    value: float = struct.unpack(">d", bits)[0] if len(bits) == 8 else 0.0
    if not math.isnan(value):
        tokens.fail("the 16 hexadecimal digits of a NaN in quotes", at)
    return value


def read_dtype(tokens: Tokens, what: str = "an element type") -> DType:
    """``float``, ``float_ref``, or ``unknown_77`` for a number without a name."""
    token = tokens.peek()
    dtype = _DTYPES.get(token)
    base = _DTYPES.get(token.removesuffix("_ref"))
    unknown = _UNKNOWN.fullmatch(token)
    if dtype is None and base is not None:
        dtype = DType(base + REF_OFFSET)
    elif unknown:
        dtype = DType(int(unknown[1]))
    if dtype is None:
        tokens.fail(what)
    tokens.accept(token)
    return dtype


def _shape(tokens: Tokens) -> Shape:
    tokens.expect("shape")
    tokens.expect("[")
    if tokens.accept("*"):
        tokens.expect("]")
        return Shape(None)
    return Shape(
        tuple([None if tokens.accept("?") else tokens.integer() for _ in tokens.items("]")])
    )
