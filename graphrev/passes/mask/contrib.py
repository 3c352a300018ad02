"""Graphs that ``tf.contrib.model_pruning`` masked: which mask is whose stands in collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from graphrev.ir import Graph
from graphrev.ir.marks import KERNEL_ATTR, KERNELS, ROLE_ATTR, role_of

COLLECTIONS = (KERNELS, "masks", "thresholds")
"""What the i-th element of each belongs to is the i-th kernel."""


def with_marks(graph: Graph, collections: Mapping[str, Sequence[str]]) -> Graph:
    """``graph`` with the marks that a mask pass would have left; itself where it has them.

    Args:
        collections: names of tensors by collection. Nothing is marked unless all three are of one
            length; a name that is no node's (a partitioned variable's) is passed over.
    """
    if any(role_of(node) == "mask" for node in graph.nodes.values()):
        return graph
    lists = [[name.partition(":")[0] for name in collections[key]] for key in COLLECTIONS]
    if len({len(names) for names in lists}) != 1:
        return graph
    nodes = dict(graph.nodes)
    for kernel, mask, threshold in zip(*lists):
        for role, name in (("mask", mask), ("threshold", threshold)):
            if kernel in nodes and name in nodes:
                marked = nodes[name].with_attr(ROLE_ATTR, role.encode())
                nodes[name] = marked.with_attr(KERNEL_ATTR, kernel.encode())
    return replace(graph, nodes=MappingProxyType(nodes))
