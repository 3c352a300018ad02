"""Graphs for Model Explorer: op names for ids, statuses, layers no fuller than it can draw."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from graphrev import api
from graphrev.api import diff
from graphrev.diff.explorer import session_of_diff, session_of_graph
from graphrev.diff.explorer.layers import FULLEST, layers, merged, open_layers
from graphrev.ir import Graph
from tests.diff.graphs import compared, hostile_pair, node


def _children(found: dict[str, str]) -> Counter[str]:
    count = Counter(found.values())
    inner = {layer for layer in found.values() if layer}
    for layer in list(inner):
        while "/" in layer:
            layer = layer.rpartition("/")[0]
            inner.add(layer)
    count.update(layer.rpartition("/")[0] for layer in inner)
    return count


def test_scopes_are_the_layers_where_they_are_small_enough() -> None:
    assert layers(["a", "s/b", "s/t/c"]) == {"a": "", "s/b": "s", "s/t/c": "s/t"}


@pytest.mark.parametrize("total", [FULLEST + 1, 5_000, 50_000])
@pytest.mark.parametrize("form", ["n{}", "s/n{}", "s{}/n"])
def test_no_layer_is_fuller_than_can_be_drawn(total: int, form: str) -> None:
    found = layers(form.format(number) for number in range(total))
    assert len(found) == total
    assert max(_children(found).values()) <= FULLEST


def test_both_sides_share_their_layers() -> None:
    before = Graph.of([node(f"n{i}", "NoOp") for i in range(400)])
    after = Graph.of([node(f"n{i}" if i % 7 else f"m{i}", "NoOp") for i in range(400) if i % 5])
    left, right = session_of_diff(diff(before, after)).panes
    old = {n["id"]: n["namespace"] for n in left.graphs[0]["nodes"]}
    new = {n["id"]: n["namespace"] for n in right.graphs[0]["nodes"]}
    assert all(new[name] == layer for name, layer in old.items() if name in new)
    assert list(merged(["a", "x", "b"], {"a": 0, "y": 0, "b": 0})) == ["a", "y", "x", "b"]


def test_ids_are_op_names_and_constants_are_shown() -> None:
    left, right = session_of_diff(compared()).panes
    graph = left.graphs[0]
    assert graph["nodeLabelsToHide"] == []
    assert {n["id"] for n in graph["nodes"]} == set(compared().before.graph.nodes)
    edges = {n["id"]: n["incomingEdges"] for n in right.graphs[0]["nodes"]}
    assert [e["sourceNodeId"] for e in edges["net/scaled"]] == ["net/rectified", "net/mul"]


def test_statuses_are_node_data_of_the_side_they_are_on() -> None:
    left, right = session_of_diff(compared()).panes
    assert left.node_data is not None and right.node_data is not None
    old, new = left.node_data["before"], right.node_data["after"]
    assert {k: v["value"] for k, v in old["results"].items()} == {
        "net/kernel": "changed",
        "net/relu": "renamed",
        "out": "changed",
    }
    assert {k: v["value"] for k, v in new["results"].items()} == {
        "net/kernel": "changed",
        "net/rectified": "renamed",
        "net/scaled": "added",
        "out": "changed",
    }
    assert old["showExpandedSummaryOnGroupNode"]


def test_counts_agree_with_the_difference(fixtures: Path) -> None:
    path = fixtures / "revnet.meta.gz"
    found = diff(path, api.rewrite(path, "reversible"))
    left, right = session_of_diff(found).panes
    assert left.node_data is not None and right.node_data is not None
    counts = Counter(v["value"] for v in right.node_data["after"]["results"].values())
    assert counts == {"added": found.counts["added"], "changed": found.counts["changed"]}
    whys = [a for n in right.graphs[0]["nodes"] for a in n["attrs"] if "why" in a["key"]]
    assert len(whys) >= sum(counts.values())
    overlays = right.graphs[0]["tasksData"]["edgeOverlaysDataListRightPane"][0]["overlays"]
    assert [overlay["name"] for overlay in overlays] == ["triggers", "copies"]


def test_the_address_opens_two_panes_that_move_together() -> None:
    data = json.loads(parse_qs(session_of_diff(compared()).query())["data"][0])
    assert data["sync"] == {"mode": "match_node_id"}
    assert [pane["selectedGraphId"] for pane in data["uiState"]["paneStates"]] == [
        "before",
        "after",
    ]
    assert data["nodeDataTargets"] == ["before", "after"]
    single = json.loads(parse_qs(session_of_graph(compared().before.graph).query())["data"][0])
    assert "sync" not in single and len(single["models"]) == 1


def test_it_opens_where_the_changes_part() -> None:
    every = ["", "a", "a/b", "a/b/c", "a/b/d"]
    assert open_layers(["a/b/c", "a/b/d"], every) == ["a/b"]
    assert open_layers(["a", ""], every) == []
    assert open_layers([], every) == []
    assert open_layers(["a/b/c"], [*every, *["a/b"] * 100]) == ["a"]


def test_functions_are_graphs_of_their_own(fixtures: Path) -> None:
    graph = api.load(fixtures / "saved_model").graph
    pane = session_of_graph(graph).panes[0]
    assert len(pane.graphs) == 1 + len(graph.functions)


def test_hostile_names_are_plain_data() -> None:
    before, after = hostile_pair()
    session = session_of_diff(diff(before, after))
    text = json.dumps([pane.graphs for pane in session.panes])
    assert text.isascii()
    for found in session.panes[1].graphs[0]["nodes"]:
        assert found["label"].isprintable() and found["namespace"].isprintable()
        assert all(a["key"].isprintable() for a in found["attrs"])
