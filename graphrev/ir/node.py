"""One operation of a graph, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from graphrev.errors import InvalidGraphError, printable
from graphrev.ir.attrs import AttrValue, TensorValue
from graphrev.ir.dtypes import DType

KindT = TypeVar("KindT")


class TensorRef(NamedTuple):
    """Output ``index`` of node ``node``.

    ``port`` is only used inside function bodies, where TensorFlow writes ``node:port:index`` and
    ``index`` counts within the named output argument; it is empty everywhere else.
    """

    node: str
    index: int = 0  # pyright: ignore[reportIncompatibleMethodOverride]
    port: str = ""

    def __str__(self) -> str:
        if self.port:
            return f"{self.node}:{self.port}:{self.index}"
        return f"{self.node}:{self.index}"


_NO_ATTRS: Mapping[str, AttrValue] = MappingProxyType({})


def _no_attrs() -> Mapping[str, AttrValue]:
    return _NO_ATTRS


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A NodeDef: an op with its inputs, control inputs, device and attributes.

    ``raw`` is the NodeDef exactly as it was read, or ``None`` once anything differs from it:
    an untouched node is written back byte for byte. ``extra`` holds the serialized NodeDef fields
    beyond the ones named here (debug info, full types). Nodes compare by identity.
    """

    name: str
    op: str
    inputs: tuple[TensorRef, ...] = ()
    control_inputs: tuple[str, ...] = ()
    device: str = ""
    attrs: Mapping[str, AttrValue] = field(default_factory=_no_attrs)
    extra: bytes = b""
    raw: bytes | None = None

    def attr(self, key: str) -> AttrValue:
        """An attribute that the op requires.

        Raises:
            InvalidGraphError: the node does not have it.
        """
        value = self.attrs.get(key)
        if value is None:
            raise InvalidGraphError(
                f"Node '{printable(self.name)}', a '{printable(self.op)}', has no attribute "
                f"'{key}'. TensorFlow refuses it too: export the graph again."
            )
        return value

    def dtype_attr(self, key: str) -> DType:
        """An attribute that the op requires, and that is a type.

        Raises:
            InvalidGraphError: the node does not have it, or it is no type.
        """
        return self._of(key, DType, "type")

    def tensor_attr(self, key: str) -> TensorValue:
        """An attribute that the op requires, and that is a tensor.

        Raises:
            InvalidGraphError: the node does not have it, or it is no tensor.
        """
        return self._of(key, TensorValue, "tensor")

    def _of(self, key: str, kind: type[KindT], called: str) -> KindT:
        value = self.attr(key)
        if not isinstance(value, kind):
            raise InvalidGraphError(
                f"Attribute '{key}' of node '{printable(self.name)}', a '{printable(self.op)}', is "
                f"no {called}. TensorFlow refuses it too: export the graph again."
            )
        return value

    def evolve(self, **changes: Any) -> Node:
        """A copy with ``changes``; it no longer claims to be the bytes that were read."""
        return replace(self, raw=None, **changes)

    def with_attr(self, key: str, value: AttrValue | None) -> Node:
        """A copy with attribute ``key`` set, or removed when ``value`` is ``None``."""
        attrs = dict(self.attrs)
        if value is None:
            attrs.pop(key, None)
        else:
            attrs[key] = value
        return self.evolve(attrs=MappingProxyType(attrs))
