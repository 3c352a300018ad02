"""One sweep over the graph that follows every channel from the kernel that makes it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from graphrev.analysis.channels.elementwise import ELEMENTWISE_RULES
from graphrev.analysis.channels.joins import JOIN_RULES
from graphrev.analysis.channels.layouts import LAYOUT_RULES
from graphrev.analysis.channels.products import PRODUCT_RULES
from graphrev.analysis.channels.tracking import Channels, Tracker
from graphrev.analysis.channels.weights import WEIGHT_RULES
from graphrev.analysis.ops import input_count, is_variable
from graphrev.analysis.order import topological
from graphrev.analysis.shape_rules import kept_outputs
from graphrev.analysis.shapes import Shapes
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.marks import is_opted_out

Rule = Callable[[Tracker, Node], None]
_RULES: dict[str, Rule] = {
    **ELEMENTWISE_RULES,
    **LAYOUT_RULES,
    **JOIN_RULES,
    **PRODUCT_RULES,
    **WEIGHT_RULES,
}
_SINKS = frozenset({"SaveV2", "SaveSlices", "Assign", "AssignVariableOp"})


def find_channels(
    graph: Graph,
    shapes: Shapes,
    fed: Iterable[str] = (),
    fetched: Iterable[str] = (),
    skip: Container[str] = frozenset(),
) -> Channels:
    """Follows every channel.

    Args:
        graph: a verified graph.
        shapes: its inferred shapes.
        fed: tensors ("name:0") that are fed by name.
        fetched: tensors and nodes that are fetched; nodes that nothing reads are always.
        skip: nodes that are taken for absent (those of a backward pass).
    """
    tracker = Tracker(graph, shapes)
    wanted = frozenset(name.partition(":")[0] for name in fetched)
    given = frozenset(name.partition(":")[0] for name in fed)
    for name in topological(graph):
        if name in skip:
            continue
        node = graph[name]
        rule = _RULES.get(node.op)
        if rule is not None and input_count(node) == len(node.inputs):
            rule(tracker, node)
        elif any(tracker.axes(ref) for ref in node.inputs):
            tracker.opaque(node)
        _end(tracker, node, name in given, name in wanted)
    return tracker.finish()


def _end(tracker: Tracker, node: Node, is_fed: bool, is_fetched: bool) -> None:
    """Keeps what leaves the graph at ``node``, or is not to be touched."""
    name, graph = node.name, tracker.graph
    count = kept_outputs(node)
    outputs = [TensorRef(name, index) for index in range(count)]
    if is_opted_out(node):
        reason = f"'{name}' was built under no_rewrite()"
        tracker.block_all((*node.inputs, *outputs), "opted_out", name, reason)
    if is_fed:
        tracker.block_all(outputs, "fed", name, f"'{name}' is fed by name")
    is_last = name not in graph.readers and not _is_sink(tracker, node)
    if is_fetched or is_last:
        tracker.found.results.add(name)
    if is_fetched:
        tracker.block_all(outputs, "fetched", name, f"'{name}' is fetched by name")
    elif is_last:
        tracker.block_all(outputs, "fetched", name, f"'{name}' is a result: nothing reads it")


def _is_sink(tracker: Tracker, node: Node) -> bool:
    """Whether it is no result although nothing reads it: a variable that is saved, or just read."""
    if node.op in ("Identity", "ReadVariableOp"):
        return is_variable(tracker.graph[node.inputs[0].node].op)
    return node.op in _SINKS
