"""Whether a body leaves variables as they are, so that a read may as well be done before it."""

from __future__ import annotations

from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import RESULTS_OP
from graphrev.analysis.functions_calls import called_by, nodes_run
from graphrev.ir import Graph, Node
from graphrev.recomputation.functions.combining import INCOMING_OP

_HARMLESS = frozenset(
    {
        "Assert",
        "Placeholder",
        "Print",
        "PrintV2",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "VarIsInitializedOp",
        "VariableShape",
        RESULTS_OP,
        INCOMING_OP,
    }
)


def is_read_only(graph: Graph) -> bool:
    """Whether no node of ``graph``, nor of any function it calls, may write to a variable."""
    return all(_is_harmless(node, graph) for node in nodes_run(graph, graph.nodes.values()))


def may_write(node: Node, graph: Graph) -> bool:
    """Whether ``node``, or a node of a function it calls, may write to a variable."""
    return not all(_is_harmless(run, graph) for run in nodes_run(graph, [node]))


def _is_harmless(node: Node, graph: Graph) -> bool:
    if node.op in _HARMLESS or ops.is_random(node.op):
        return True
    called = tuple(called_by(node, graph))
    if any(name not in graph.functions for name in called):
        return False
    return bool(called) or not ops.is_stateful(node.op)
