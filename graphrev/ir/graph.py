"""A frozen, ordered graph with its function library.

The nodes keep the order of the file. Edges point backwards only (a node names its inputs); the
forward direction is an index built on first use and kept, because most passes ask for it and a
graph never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from graphrev.ir.attrs import AttrValue
from graphrev.ir.dtypes import DType
from graphrev.ir.index import GraphIndex
from graphrev.ir.node import Node, TensorRef


@dataclass(frozen=True, slots=True)
class Versions:
    """GraphDef versions (core/framework/versions.proto)."""

    producer: int = 0
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a function signature; ``dtype`` is ``None`` where an attribute decides it.

    ``extra`` holds the serialized ArgDef fields beyond these, ``attrs`` the serialized ArgAttrs
    (shapes, for instance), ``unique_id`` tells resource arguments apart that may be one and the
    same; a changed function keeps them with its arguments.
    """

    name: str
    dtype: DType | None
    extra: bytes = field(default=b"", compare=False, repr=False)
    attrs: bytes | None = field(default=None, compare=False, repr=False)
    unique_id: int | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A library function: signature, body, and which body tensor each output returns.

    ``raw`` is the FunctionDef as it was read; an untouched function is written back byte for byte.
    ``extra`` holds the serialized signature fields beyond the ones named here.
    """

    name: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    nodes: Mapping[str, Node]
    returns: Mapping[str, TensorRef]
    control_returns: Mapping[str, str]
    attrs: Mapping[str, AttrValue]
    stateful: bool = False
    raw: bytes | None = None
    extra: bytes = b""


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes by name in file order, library functions, and versions.

    ``extra`` and ``library_extra`` are serialized fields of the GraphDef and of its function
    library beyond the ones named here (gradient registrations, for instance).
    """

    nodes: Mapping[str, Node]
    functions: Mapping[str, Function] = field(default_factory=lambda: MappingProxyType({}))
    versions: Versions = Versions()
    extra: bytes = b""
    library_extra: bytes = b""

    @classmethod
    def of(cls, nodes: Iterable[Node], **parts: object) -> Graph:
        """A graph of ``nodes`` in the given order; later duplicates of a name replace earlier."""
        return cls(MappingProxyType({n.name: n for n in nodes}), **parts)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node that is read: the nodes that read any of its outputs, in graph order."""
        found: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for source in {ref.node: None for ref in node.inputs}:
                found.setdefault(source, []).append(name)
        return MappingProxyType({k: tuple(v) for k, v in found.items()})

    @cached_property
    def control_readers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node somebody waits for: the nodes with a control input from it."""
        found: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for source in node.control_inputs:
                found.setdefault(source, []).append(name)
        return MappingProxyType({k: tuple(v) for k, v in found.items()})

    @cached_property
    def index(self) -> GraphIndex:
        """The edges as integers, with a topological order; the graph must be verified."""
        return GraphIndex.of(self.nodes)

    def readers_of(self, tensor: TensorRef) -> tuple[str, ...]:
        """The nodes that read this one tensor, in graph order."""
        names = self.readers.get(tensor.node, ())
        return tuple(name for name in names if tensor in self.nodes[name].inputs)
