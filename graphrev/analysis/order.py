"""Who depends on whom, for many questions at once, in one sweep over the graph.

A question is a set of seed nodes; its answer is one bit of an integer label per node. Loop back
edges are not followed: inside a loop body "after" means after in the same iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphrev.ir import Graph
from graphrev.ir.index import GraphIndex

__all__ = ["GraphIndex", "ancestor_labels", "descendant_labels", "index_of", "topological"]


def index_of(graph: Graph) -> GraphIndex:
    """The integer index of ``graph``, made once and kept with it."""
    return graph.index


def topological(graph: Graph) -> Iterable[str]:
    """Node names, each after everything it reads; the file's order where that will do."""
    index = graph.index
    return (index.names[number] for number in index.order)


def descendant_labels(
    index: GraphIndex, seeds: Sequence[Iterable[int]], *, control: bool
) -> list[int]:
    """For each node a label whose bit ``k`` says that it is in, or depends on, ``seeds[k]``.

    Args:
        seeds: sets of node ids.
        control: whether control inputs count as dependence, or data inputs alone.
    """
    labels = _seeded(index, seeds)
    data, waits = index.data_inputs, index.control_inputs
    for number in index.order:
        label = labels[number]
        for source in data[number]:
            label |= labels[source]
        if control:
            for source in waits[number]:
                label |= labels[source]
        labels[number] = label
    return labels


def ancestor_labels(
    index: GraphIndex, seeds: Sequence[Iterable[int]], *, control: bool
) -> list[int]:
    """For each node a label whose bit ``k`` says that ``seeds[k]`` holds it or depends on it."""
    labels = _seeded(index, seeds)
    data, waits = index.data_inputs, index.control_inputs
    for number in reversed(index.order):
        label = labels[number]
        if not label:
            continue
        for source in data[number]:
            labels[source] |= label
        if control:
            for source in waits[number]:
                labels[source] |= label
    return labels


def _seeded(index: GraphIndex, seeds: Sequence[Iterable[int]]) -> list[int]:
    labels = [0] * len(index.names)
    for bit, members in enumerate(seeds):
        for number in members:
            labels[number] |= 1 << bit
    return labels
