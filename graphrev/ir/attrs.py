"""Attribute values as plain frozen data, and the few types Python has no word for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, Union

from graphrev.ir.dtypes import DType


@dataclass(frozen=True, slots=True)
class Shape:
    """A static shape: ``dims`` is ``None`` for unknown rank, a dim is ``None`` when unknown."""

    dims: tuple[int | None, ...] | None

    @property
    def is_fully_defined(self) -> bool:
        """Whether rank and every dimension are known."""
        return self.dims is not None and all(d is not None for d in self.dims)


@dataclass(frozen=True, slots=True)
class TensorValue:
    """A constant. ``raw`` is the serialized TensorProto, which only :mod:`graphrev.io` opens."""

    dtype: DType
    shape: Shape
    raw: bytes


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A function attribute: a library function's name and the attributes bound to it."""

    name: str
    attrs: tuple[tuple[str, AttrValue], ...] = ()


@dataclass(frozen=True, slots=True)
class AttrPlaceholder:
    """``$name``: an attribute of the enclosing function, only seen in function bodies."""

    name: str


@dataclass(frozen=True, slots=True)
class OpaqueAttr:
    """An attribute value this version does not understand, kept as its serialized bytes."""

    raw: bytes


AttrScalar: TypeAlias = Union[
    bool, int, float, bytes, DType, Shape, TensorValue, FunctionRef, AttrPlaceholder, OpaqueAttr
]
AttrValue: TypeAlias = Union[AttrScalar, tuple[AttrScalar, ...]]
Attrs: TypeAlias = Mapping[str, AttrValue]
