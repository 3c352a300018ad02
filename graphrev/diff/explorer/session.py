"""What one start of the viewer shows: a pane or two, colours for what differs, where to open."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from graphrev.diff.explorer.graphs import Json, explorer_graph, function_graphs
from graphrev.diff.explorer.layers import layers, merged, node_id, open_layers
from graphrev.diff.graph_diff import GraphDiff, NodeChange, Status
from graphrev.ir import Graph

_COLORS = {
    Status.ADDED: "#a6e9c0",
    Status.REMOVED: "#fdb5ae",
    Status.CHANGED: "#fbdf8a",
    Status.RENAMED: "#a9dcf3",
}
_GROUP = "___group___"
"""What Model Explorer adds to a layer's path for the id of its node."""


@dataclass(frozen=True)
class Pane:
    """One side.

    Attributes:
        name: what it is called; unique in a session.
        graphs: the main graph, then one for each library function.
        node_data: statuses by node; ``None`` where there is nothing to compare with.
        opened: layers opened at the start.
    """

    name: str
    graphs: list[Json]
    node_data: Json | None
    opened: list[str]

    @property
    def graph_id(self) -> str:
        """The id of the main graph."""
        return str(self.graphs[0]["id"])


@dataclass(frozen=True)
class Session:
    """The panes, left to right."""

    panes: tuple[Pane, ...]

    def query(self) -> str:
        """The query of the address to open: models, colours, panes, opened layers, moving together.

        Source: ``url_service.ts`` of Model Explorer 0.1.34.
        """
        data: dict[str, Any] = {
            "models": [{"url": f"graphs://{p.name}/{i}"} for i, p in enumerate(self.panes)],
            "nodeData": [],
            "nodeDataTargets": [],
            "uiState": {"paneStates": [self._pane_state(pane) for pane in self.panes]},
        }
        for number, pane in enumerate(self.panes):
            if pane.node_data is not None:
                data["nodeData"].append(f"node_data://difference {pane.name}/{number}")
                data["nodeDataTargets"].append(pane.name)
        if len(self.panes) > 1:
            data["sync"] = {"mode": "match_node_id"}
        return f"data={quote(json.dumps(data))}"

    def _pane_state(self, pane: Pane) -> Json:
        return {
            "deepestExpandedGroupNodeIds": [f"{layer}{_GROUP}" for layer in pane.opened],
            "selectedNodeId": "",
            "selectedGraphId": pane.graph_id,
            "selectedCollectionLabel": pane.name,
            "widthFraction": 1 / len(self.panes),
            "selected": pane is self.panes[0],
        }


def session_of_graph(graph: Graph, name: str = "graph") -> Session:
    """One pane with one graph."""
    return Session((_pane(name, graph, layers(graph.nodes), None),))


def session_of_diff(diff: GraphDiff) -> Session:
    """Two panes that move together, coloured by what differs."""
    before, after = diff.before.graph, diff.after.graph
    layer = layers(merged(before.nodes, after.nodes))
    old = {change.before.name: change for change in diff.nodes if change.before is not None}
    new = {change.after.name: change for change in diff.nodes if change.after is not None}
    return Session((_pane("before", before, layer, old), _pane("after", after, layer, new)))


def _pane(
    name: str, graph: Graph, layer: dict[str, str], changes: dict[str, NodeChange] | None
) -> Pane:
    ids, functions = function_graphs(graph, f"{name}: ")
    side = "Right" if name == "after" else "Left"
    main = explorer_graph(name, graph.nodes, layer, changes or {}, ids, side)
    data = None if changes is None else {name: _node_data(changes)}
    changed = [layer[node] for node in changes or ()]
    opened = open_layers(changed, (layer[node] for node in graph.nodes))
    return Pane(name, [main, *functions], data, opened)


def _node_data(changes: dict[str, NodeChange]) -> Json:
    return {
        "name": "difference",
        "results": {
            node_id(name): {"value": change.status.value, "bgColor": _COLORS[change.status]}
            for name, change in changes.items()
        },
        "hideInAggregatedStatsTable": True,
        "showExpandedSummaryOnGroupNode": True,
        "showLabelCountColumnsInChildrenStatsTable": True,
    }
