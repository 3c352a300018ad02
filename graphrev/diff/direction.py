"""Which nodes belong to the backward pass, told by structure.

Backward are the ops that only gradient code makes (``ReluGrad``, ``Conv2DBackpropInput`` …, and
what applies an optimizer), everything that depends on their results (or groups them), and
everything whose results only backward nodes read (the seed, axes, recomputed values).
"""

from __future__ import annotations

from graphrev.analysis import ops
from graphrev.ir import Graph


def backward_nodes(graph: Graph) -> frozenset[str]:
    """Names of the backward nodes; empty for a graph that holds no gradients."""
    readers = graph.readers
    found = {
        name
        for name, node in graph.nodes.items()
        if ops.is_gradient_op(node.op) or ops.is_optimizer_apply(node.op)
    }
    pending = list(found)
    while pending:
        name = pending.pop()
        grouped = (n for n in graph.control_readers.get(name, ()) if graph[n].op == "NoOp")
        for reader in (*readers.get(name, ()), *grouped):
            if reader not in found:
                found.add(reader)
                pending.append(reader)
    _extend_upwards(graph, found)
    return frozenset(found)


def _extend_upwards(graph: Graph, found: set[str]) -> None:
    """Adds nodes all of whose readers are backward; variables belong to both passes."""
    left = {name: len(readers) for name, readers in graph.readers.items()}
    pending = list(found)
    while pending:
        node = graph.nodes.get(pending.pop())
        for source in {ref.node for ref in node.inputs} if node else ():
            left[source] -= 1
            origin = graph.nodes.get(source)
            if left[source] or source in found or origin is None:
                continue
            if not (ops.is_variable(origin.op) or ops.is_placeholder(origin.op)):
                found.add(source)
                pending.append(source)
