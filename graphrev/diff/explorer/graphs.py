"""A graph in Model Explorer's JSON: node ids are op names, constants are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphrev.analysis.functions_calls import functions_in
from graphrev.diff.explorer.layers import layers, node_id
from graphrev.diff.graph_diff import NodeChange
from graphrev.diff.notation import short_name, short_value
from graphrev.errors import printable
from graphrev.ir import Graph, Node

Json = dict[str, Any]
_TEXT = 300
_TRIGGERS = 500
"""Control inputs drawn per node at most: a node that waits for thousands would hide the rest."""


def explorer_graph(
    graph_id: str,
    nodes: Mapping[str, Node],
    layer: Mapping[str, str],
    changes: Mapping[str, NodeChange],
    subgraphs: Mapping[str, str],
    side: str = "Left",
) -> Json:
    """One graph.

    Args:
        graph_id: what Model Explorer calls it.
        nodes: its nodes.
        layer: the layer of each.
        changes: what differs, by node name on this side.
        subgraphs: ids of the graphs of library functions, by function name.
        side: ``Left`` or ``Right``: the pane it is for.
    """
    drawn = [
        _node(node, nodes, layer, changes.get(name), subgraphs) for name, node in nodes.items()
    ]
    overlays = list(_overlays(nodes, changes))
    tasks: Json = {}
    if overlays:
        data = [{"type": "edge_overlays", "name": "graphrev", "overlays": overlays}]
        tasks = {f"edgeOverlaysDataList{side}Pane": data}
    return {
        "id": graph_id,
        "nodes": drawn,
        "nodeLabelsToHide": [],
        "layoutConfigs": {"keepLayersWithASingleChild": True},
        "tasksData": tasks,
    }


def function_graphs(graph: Graph, prefix: str) -> tuple[dict[str, str], Iterator[Json]]:
    """Ids of the library functions' graphs by function name, and those graphs."""
    ids = {name: f"{prefix}{printable(name, _TEXT)}" for name in graph.functions}
    return ids, _function_graphs(graph, ids)


def _function_graphs(graph: Graph, ids: Mapping[str, str]) -> Iterator[Json]:
    for name, function in graph.functions.items():
        yield explorer_graph(ids[name], function.nodes, layers(function.nodes), {}, ids)


def _node(
    node: Node,
    nodes: Mapping[str, Node],
    layer: Mapping[str, str],
    change: NodeChange | None,
    subgraphs: Mapping[str, str],
) -> Json:
    found: Json = {
        "id": node_id(node.name),
        "label": _label(node),
        "namespace": layer[node.name],
        "attrs": [{"key": key, "value": value} for key, value in _attrs(node, change)],
        "incomingEdges": list(_edges(node, nodes)),
    }
    called = [subgraphs[name] for name in _functions(node) if name in subgraphs]
    if called:
        found["subgraphIds"] = called
    return found


def _label(node: Node) -> str:
    own = printable(node.name.rpartition("/")[2], 60)
    op = printable(node.op, 60)
    return op if own.lower() == op.lower() else f"{own} · {op}"


def _attrs(node: Node, change: NodeChange | None) -> Iterator[tuple[str, str]]:
    yield "op", printable(node.op, _TEXT)
    if change is not None:
        yield "graphrev: status", change.status.value
        if change.clone_of is not None:
            yield "graphrev: copy of", short_name(change.clone_of)
        for number, cause in enumerate(change.why, 1):
            said = f"{cause.pass_name} · {cause.subject}: {cause.reason}"
            yield f"graphrev: why {number}", printable(said, _TEXT)
        for field in change.fields:
            yield f"graphrev: {field.field}", f"{field.before} -> {field.after}"
    if node.device:
        yield "device", printable(node.device, _TEXT)
    for place, source in enumerate(node.control_inputs[:8], 1):
        yield f"waits for {place}", short_name(source)
    for key, value in node.attrs.items():
        yield printable(key, _TEXT), short_value(value)


def _edges(node: Node, nodes: Mapping[str, Node]) -> Iterator[Json]:
    for place, ref in enumerate(node.inputs):
        if ref.node in nodes:
            yield {
                "sourceNodeId": node_id(ref.node),
                "sourceNodeOutputId": f"{ref.port}:{ref.index}" if ref.port else str(ref.index),
                "targetNodeInputId": str(place),
            }
    for source in node.control_inputs[:_TRIGGERS]:
        if source in nodes:
            yield {
                "sourceNodeId": node_id(source),
                "sourceNodeOutputId": "control",
                "targetNodeInputId": "control",
            }


def _overlays(nodes: Mapping[str, Node], changes: Mapping[str, NodeChange]) -> Iterator[Json]:
    """Triggers and copies of the nodes that differ, each in its colour."""
    triggers = [
        _tie(source, name, "waits for")
        for name in changes
        for source in nodes[name].control_inputs[:_TRIGGERS]
        if source in nodes
    ]
    copies = [
        _tie(change.clone_of, name, "copied as")
        for name, change in changes.items()
        if change.clone_of is not None and change.clone_of in nodes
    ]
    for title, color, edges in (("triggers", "#c4420a", triggers), ("copies", "#7a3fc0", copies)):
        if edges:
            yield {
                "name": title,
                "edgeColor": color,
                "edges": edges,
                "showEdgesConnectedToSelectedNodeOnly": True,
            }


def _tie(source: str, target: str, label: str) -> Json:
    return {"sourceNodeId": node_id(source), "targetNodeId": node_id(target), "label": label}


def _functions(node: Node) -> Iterator[str]:
    """Names of the functions a node calls: by attribute, or as its op."""
    yield node.op
    for value in node.attrs.values():
        yield from functions_in(value)
