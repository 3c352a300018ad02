"""Whether somebody has differentiated what a pass is about to rewrite."""

from __future__ import annotations

from graphrev.analysis import ops
from graphrev.ir import Graph


def is_forward_only(graph: Graph) -> bool:
    """Whether neither the graph nor a function of it holds gradient ops or optimizers."""
    bodies = (graph.nodes, *(function.nodes for function in graph.functions.values()))
    return not any(
        ops.is_gradient_op(node.op) or ops.is_optimizer_apply(node.op)
        for nodes in bodies
        for node in nodes.values()
    )
