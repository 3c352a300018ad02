"""Dimensions that are numbers, or names for numbers nobody knows yet.

An unknown dimension is a symbol: a nested tuple that says where it comes from, so that two tensors
shaped like the same fed batch are known to have the same shape although the batch size is not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, Union, cast

Symbol: TypeAlias = tuple[Any, ...]
Dim: TypeAlias = Union[int, Symbol]
Dims: TypeAlias = "tuple[Dim, ...] | None"
"""A shape; ``None`` when even the rank is unknown."""


_WORD = 2**63
_PARTS = 256


def too_large(dim: Dim) -> bool:
    """Whether a size is none TensorFlow can hold, or a symbol that has grown past all use.

    Symbols nest, and a tensor joined with itself doubles its symbol: sixty such nodes in a row
    would outgrow any memory.
    """
    if isinstance(dim, int):
        return not -_WORD <= dim < _WORD
    pending, left = [dim], _PARTS
    while pending:
        for part in pending.pop():
            left -= 1
            if left < 0:
                return True
            if isinstance(part, tuple):
                pending.append(cast(Symbol, part))
    return False


def total(dims: Iterable[Dim]) -> Dim:
    """The sum of dimensions (a concatenation's size)."""
    dims = tuple(dims)
    known = sum(dim for dim in dims if isinstance(dim, int))
    symbols = sorted((dim for dim in dims if not isinstance(dim, int)), key=repr)
    if not symbols:
        return known
    if len(symbols) == 1 and not known:
        return symbols[0]
    return ("sum", known, *symbols)


def _factors(dims: Iterable[Dim]) -> tuple[int, Counter[Symbol]]:
    number, symbols = 1, Counter[Symbol]()
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        elif dim[0] == "product":
            number *= dim[1]
            symbols.update(dim[2:])
        else:
            symbols[dim] += 1
    return number, symbols


def _spelled(number: int, symbols: Counter[Symbol]) -> Dim:
    parts = sorted(symbols.elements(), key=repr)
    if not parts or number == 0:
        return number
    if len(parts) == 1 and number == 1:
        return parts[0]
    return ("product", number, *parts)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dimensions (a tensor's size)."""
    return _spelled(*_factors(dims))


def quotient(dims: Iterable[Dim], divisors: Iterable[Dim]) -> Dim:
    """The product of ``dims`` divided by that of ``divisors``: what -1 stands for in a reshape."""
    number, symbols = _factors(dims)
    by_number, by_symbols = _factors(divisors)
    if by_number and number % by_number == 0 and not by_symbols - symbols:
        return _spelled(number // by_number, symbols - by_symbols)
    return ("quotient", product(dims), product(divisors))


def broadcast(left: Dims, right: Dims) -> Dims:
    """The shape of an elementwise operation on both (numpy's rule)."""
    if left is None or right is None:
        return None
    width = max(len(left), len(right))
    padded = ((1,) * (width - len(side)) + side for side in (left, right))
    return tuple(_broadcast_dim(a, b) for a, b in zip(*padded))


def _broadcast_dim(a: Dim, b: Dim) -> Dim:
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int):
        return a
    if isinstance(b, int):
        return b
    return ("broadcast", *sorted((a, b), key=repr))


def window(size: Dim, kernel: Dim, stride: int, dilation: int, padding: bytes) -> Dim:
    """Output size of a sliding window along one axis (core/framework/common_shape_fns.cc)."""
    if padding == b"SAME":
        if stride == 1:
            return size
        if isinstance(size, int):
            return math.ceil(size / stride)
    elif isinstance(size, int) and isinstance(kernel, int) and padding == b"VALID":
        return (size - (kernel - 1) * dilation - 1) // stride + 1
    return ("window", size, kernel, stride, dilation, padding)


def padded(size: Dim, before: int, after: int) -> Dim:
    """A size with padding on both sides."""
    return total((size, before + after))


def number_of_bytes(dims: Dims, element: int | None) -> int | None:
    """Bytes of a tensor, or ``None`` where a dimension or the element size is unknown."""
    if dims is None or element is None or not all(isinstance(dim, int) for dim in dims):
        return None
    return element * math.prod(dim for dim in dims if isinstance(dim, int))


def same(left: Dims, right: Dims) -> bool | None:
    """Whether two shapes are equal; ``None`` where that cannot be known."""
    if left is None or right is None:
        return None
    if len(left) != len(right):
        return False
    if left == right:
        return True
    if any(_differ(a, b) for a, b in zip(left, right)):
        return False
    return None


def _differ(a: Dim, b: Dim) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def axes(values: Sequence[int], rank: int) -> frozenset[int]:
    """Axes counted from the front."""
    return frozenset(value + rank if value < 0 else value for value in values)
