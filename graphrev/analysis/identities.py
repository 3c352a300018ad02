"""What a tensor is behind the identities that hand it on."""

from __future__ import annotations

from graphrev.ir import Graph, TensorRef


def origin(graph: Graph, ref: TensorRef) -> TensorRef:
    """The tensor that ``ref`` stands for, through identities."""
    node = graph[ref.node]
    while node.op == "Identity":
        ref = node.inputs[0]
        node = graph[ref.node]
    return ref
