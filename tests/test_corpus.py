"""The corpus: real graphs of other projects, read, printed, inspected and left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import graphrev
from graphrev.ir import Graph
from graphrev.ir.notation import from_text, to_text

NAMES = (
    "gc_cifar_10",
    "gc_cifar_14",
    "gc_imagenet_50",
    "gc_imagenet_200",
    "keras_imagenet_main",
    "keras_imagenet_main_graph_mode",
)


@pytest.fixture(scope="module", params=NAMES)
def path(request: Any, corpus: Path) -> Path:
    return corpus / f"{request.param}.pbtxt.gz"


@pytest.fixture(scope="module")
def graph(path: Path) -> Graph:
    return graphrev.load(path).graph


def test_corpus_holds_these_graphs_and_no_others(corpus: Path) -> None:
    assert {p.name.removesuffix(".pbtxt.gz") for p in corpus.glob("*.gz")} == set(NAMES)


def test_graph_prints_and_reads_back_the_same(graph: Graph) -> None:
    assert len(graph) > 100
    text = to_text(graph)
    assert text.isascii()
    again = from_text(text)
    assert to_text(again) == text
    assert list(again.nodes) == list(graph.nodes)
    for name, node in graph.nodes.items():
        assert again[name].inputs == node.inputs
        assert again[name].control_inputs == node.control_inputs


def test_graph_is_inspected_without_objection(path: Path, graph: Graph) -> None:
    report = graphrev.analyze(path, "reversible{detect=structural}")
    assert report.to_json()["nodes"]["before"] == len(graph)
    assert all("refuses the node name '_" in warning for warning in report.warnings)
    assert str(len(graph)) in report.to_text()


def test_rewrite_that_finds_nothing_returns_every_node_as_it_was(graph: Graph) -> None:
    result = graphrev.rewrite(graph, "reversible")
    assert not result.changed
    assert result.model.graph is graph
    for name, node in graph.nodes.items():
        assert result.model.graph[name] is node
