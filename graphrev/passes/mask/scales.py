"""The batch norm behind a convolution, and the variable of its scale."""

from __future__ import annotations

from collections.abc import Iterator

from graphrev.ir import Graph, TensorRef
from graphrev.passes.mask.signals import Variable, variable_of
from graphrev.passes.mask.trace import Kernel

_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_CARRIES = frozenset({"BiasAdd", "Identity", "Reshape", "Squeeze", "BatchToSpaceND", "Cast"})
"""Between a convolution and its batch norm; a dilated one goes through spaces and batches."""


def scale_of(graph: Graph, kernel: Kernel) -> Variable | str:
    """The scale, or a sentence why there is none."""
    found: dict[Variable, None] = {}
    for use, _, _ in kernel.uses():
        for norm in _norms(graph, use.node):
            scale = variable_of(graph, graph[norm].inputs[1])
            if scale is not None:
                found[scale] = None
    if len(found) == 1:
        return next(iter(found))
    if found:
        return "several batch norms with scales of their own follow it."
    return "no fused batch norm with a trained scale follows it."


def _norms(graph: Graph, start: str) -> Iterator[str]:
    pending, seen = [TensorRef(start)], {start}
    while pending:
        tensor = pending.pop()
        for reader in graph.readers_of(tensor):
            node = graph[reader]
            if node.inputs[0] != tensor or reader in seen:
                continue
            seen.add(reader)
            if node.op in _NORMS:
                yield reader
            elif node.op in _CARRIES:
                pending.append(TensorRef(reader))
