"""Checks the shapes that a caller says will be fed against what the graph declares."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from graphrev.analysis import ops
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph, Node, Shape

_SCALARS_MEAN_SCALARS = 24
"""GraphDef versions before this wrote unknown placeholder shapes as scalars (array_ops.cc)."""


def check_feeds(graph: Graph, feeds: Mapping[str, Shape]) -> None:
    """Refuses shapes for nodes that are not there, or that their placeholders do not take.

    Args:
        graph: the graph that is fed.
        feeds: shapes by node name.

    Raises:
        UsageError: there is no such node (the nearest placeholder is named), or a shape does not
            fit the one its placeholder declares.
    """
    for name, given in feeds.items():
        node = graph.nodes.get(name)
        if node is None:
            raise UsageError(
                f"There is no node '{printable(name)}' to feed.{_nearest(graph, name)}"
            )
        declared = _declared(graph, node)
        if not _fits(declared, given):
            raise UsageError(
                f"Shape {_spelled(given)} does not fit the placeholder '{printable(name)}', whose "
                f"shape is {_spelled(declared)}. Feed a shape that agrees with it."
            )


def _declared(graph: Graph, node: Node) -> Shape:
    shape = node.attrs.get("shape") if ops.is_placeholder(node.op) else None
    if not isinstance(shape, Shape):
        return Shape(None)
    old = graph.versions.producer < _SCALARS_MEAN_SCALARS
    return Shape(None) if old and shape.dims == () else shape


def _fits(declared: Shape, given: Shape) -> bool:
    if declared.dims is None or given.dims is None:
        return True
    return len(declared.dims) == len(given.dims) and all(
        a is None or b is None or a == b for a, b in zip(declared.dims, given.dims)
    )


def _nearest(graph: Graph, name: str) -> str:
    fed = [key for key, node in graph.nodes.items() if ops.is_placeholder(node.op)]
    close = difflib.get_close_matches(name, fed, 1) or fed[:1]
    return f" Did you mean '{printable(close[0])}'?" if close else " It has no placeholders."


def _spelled(shape: Shape) -> str:
    if shape.dims is None:
        return "unknown"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape.dims) + "]"
