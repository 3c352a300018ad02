"""GraphDef bytes <-> :class:`~graphrev.ir.Graph` (core/framework/graph.proto)."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from graphrev.collection import paused_collection
from graphrev.errors import InvalidInputError, printable
from graphrev.io import wire
from graphrev.io.functions import decode_library_function, encode_library_function
from graphrev.io.node_defs import InputNames, decode_node, encode_node
from graphrev.ir import Function, Graph, Node, Versions

_NODE, _LIBRARY, _VERSIONS = 1, 2, 4
_NODE_KEY = b"\x0a"
_EVERY = 20_000
"""Nodes between two progress reports."""


def decode_graph(data: bytes, progress: Callable[[int, int], None] | None = None) -> Graph:
    """The graph that a GraphDef describes.

    Args:
        data: a serialized GraphDef.
        progress: called now and then with bytes read and bytes in all.

    Raises:
        InvalidInputError: two nodes have the same name.
        WireError: the bytes are no GraphDef.
    """
    with paused_collection():
        return _decode_graph(data, progress)


def _decode_graph(data: bytes, progress: Callable[[int, int], None] | None) -> Graph:
    nodes: dict[str, Node] = {}
    functions: dict[str, Function] = {}
    inputs = InputNames()
    versions, extra, library_extra, done = Versions(), b"", b"", 0
    for number, kind, value in wire.fields(data):
        if number == _NODE:
            raw = wire.chunk(value)
            node = decode_node(raw, inputs)
            if node.name in nodes:
                raise InvalidInputError(
                    f"Two nodes are called '{printable(node.name)}'. Node names must be unique: "
                    "rename one of them where the graph was made."
                )
            nodes[node.name] = node
            done += len(raw)
            if progress is not None and len(nodes) % _EVERY == 0:
                progress(done, len(data))
        elif number == _LIBRARY:
            library_extra += _decode_library(wire.chunk(value), functions)
        elif number == _VERSIONS:
            versions = _decode_versions(wire.chunk(value))
        else:
            extra += wire.encode_field((number, kind, value))
    return Graph(
        MappingProxyType(nodes), MappingProxyType(functions), versions, extra, library_extra
    )


def _decode_library(data: bytes, functions: dict[str, Function]) -> bytes:
    extra = b""
    for number, kind, value in wire.fields(data):
        if number == 1:
            function = decode_library_function(wire.chunk(value))
            functions[function.name] = function
        else:
            extra += wire.encode_field((number, kind, value))
    return extra


def _decode_versions(data: bytes) -> Versions:
    producer = consumer = 0
    bad: list[int] = []
    for number, kind, value in wire.fields(data):
        if number == 1:
            producer = wire.signed(value)
        elif number == 2:
            consumer = wire.signed(value)
        elif number == 3:
            bad.extend(wire.packed(kind, value))
    return Versions(producer, consumer, tuple(bad))


def encode_graph(graph: Graph) -> bytes:
    """The graph's GraphDef; nodes nobody changed are the very bytes they were read from."""
    parts: list[bytes] = []
    for node in graph.nodes.values():
        raw = encode_node(node)
        parts += (_NODE_KEY, wire.encode_varint(len(raw)), raw)
    library = b"".join(
        wire.bytes_field(1, encode_library_function(function))
        for function in graph.functions.values()
    )
    if library or graph.library_extra:
        parts.append(wire.bytes_field(_LIBRARY, library + graph.library_extra))
    versions = _encode_versions(graph.versions)
    if versions:
        parts.append(wire.bytes_field(_VERSIONS, versions))
    parts.append(graph.extra)
    return b"".join(parts)


def _encode_versions(versions: Versions) -> bytes:
    parts = [
        wire.number_field(number, value)
        for number, value in ((1, versions.producer), (2, versions.min_consumer))
        if value
    ]
    if versions.bad_consumers:
        packed = b"".join(map(wire.encode_varint, versions.bad_consumers))
        parts.append(wire.bytes_field(3, packed))
    return b"".join(parts)
