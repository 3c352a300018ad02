"""Masks that the mask pass put into a graph with variables, undone by what it recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.marks import KERNELS, collections_of, kernel_of, replaced_by, role_of
from graphrev.passes.strip_masks.plan import Shrink

SAVES = {"SaveV2": "dtypes", "SaveSlices": "T"}
"""The save ops of both checkpoint formats, and the attribute that lists the types."""
_FIXED = 3
"""They read the file name, tensor names and slices before the tensors."""


def added_nodes(graph: Graph) -> frozenset[str]:
    """The nodes that serve a mask.

    A copy of a view whose original was left out when the graph was frozen is the view now.
    """
    return frozenset(
        name
        for name, node in graph.nodes.items()
        if kernel_of(node) is not None and role_of(node) != "saver" and not _is_heir(graph, node)
    )


def _is_heir(graph: Graph, node: Node) -> bool:
    if role_of(node) not in ("led-in", "view"):
        return False
    origin = replaced_by(node)
    return origin is None or origin.node not in graph


def unexplained(
    graph: Graph, added: frozenset[str], folded: frozenset[str]
) -> tuple[str, str] | None:
    """An added node that something outside reads without a record of what it read before."""
    for name in graph.nodes:
        if name not in added or name in folded:
            continue
        for reader in graph.readers.get(name, ()):
            outside = reader not in added and graph[reader].op not in SAVES
            if outside and _origin(graph, TensorRef(name), added) is None:
                return name, reader
    return None


def undone(graph: Graph, added: frozenset[str]) -> Iterator[tuple[TensorRef, TensorRef]]:
    """The tensors of added nodes that are read from outside, and what was read before."""
    for name in graph.nodes:
        if name not in added:
            continue
        read = {
            ref
            for reader in graph.readers.get(name, ())
            if reader not in added and graph[reader].op not in SAVES
            for ref in graph[reader].inputs
            if ref.node == name
        }
        for ref in sorted(read):
            origin = _origin(graph, ref, added)
            if origin is not None:
                yield ref, origin


def _origin(graph: Graph, ref: TensorRef, added: frozenset[str]) -> TensorRef | None:
    origin: TensorRef | None = ref
    while origin is not None and origin.node in added:
        origin = replaced_by(graph[origin.node], origin.index)
    return origin if origin is not None and origin.node in graph else None


def released(graph: Graph, added: frozenset[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Nodes that wait for added ones, with what they wait for otherwise."""
    for name, node in graph.nodes.items():
        if name not in added and not added.isdisjoint(node.control_inputs):
            yield name, tuple(source for source in node.control_inputs if source not in added)


def shrunk(graph: Graph, added: frozenset[str]) -> Iterator[Shrink]:
    """The savers that hold added variables, which are always their last tensors."""
    for name, node in graph.nodes.items():
        if node.op not in SAVES:
            continue
        held = [ref.node in added for ref in node.inputs[_FIXED:]]
        kept = len(held)
        while kept and held[kept - 1]:
            kept -= 1
        if kept < len(held):
            yield Shrink(name, kept, len(held) - kept)


def unlisted(graph: Graph, added: frozenset[str]) -> Iterator[str]:
    """The kernels that are listed as masked."""
    for name, node in graph.nodes.items():
        if name not in added and KERNELS in collections_of(node):
            yield name


def readers_first(graph: Graph, names: Iterable[str]) -> tuple[str, ...]:
    """``names`` so that each comes before everything it reads or waits for."""
    index = graph.index
    chosen = set(names)
    return tuple(
        index.names[number] for number in reversed(index.order) if index.names[number] in chosen
    )
