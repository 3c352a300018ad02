"""What differs is found, all of it, and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from graphrev import api
from graphrev.api import diff
from graphrev.diff import Status
from graphrev.editor import replay
from graphrev.errors import UsageError
from graphrev.ir import DType, Graph
from tests.diff.graphs import changed, compared, floats, node, small


def test_a_graph_does_not_differ_from_itself() -> None:
    found = diff(small(), small())
    assert found.is_empty
    assert not found
    assert found.to_text() == ""
    assert found.to_json()["nodes"] == []


def test_every_file_of_the_corpus_equals_itself_read_twice(corpus: Path) -> None:
    for file in sorted(corpus.glob("*.pbtxt.gz")):
        assert diff(str(file), str(file)).is_empty, file


def test_nan_attributes_equal_themselves_and_types_are_told_apart() -> None:
    one = Graph.of([node("a", "Op", x=math.nan, y=1, z=0.0)])
    same = Graph.of([node("a", "Op", x=math.nan, y=1, z=0.0)])
    other = Graph.of([node("a", "Op", x=math.nan, y=True, z=-0.0)])
    assert diff(one, same).is_empty
    assert [f.field for f in diff(one, other).nodes[0].fields] == ["attr[y]", "attr[z]"]


def test_statuses_and_fields_are_those_of_the_change() -> None:
    found = {change.name: change for change in compared().nodes}
    assert {name: change.status for name, change in found.items()} == {
        "net/kernel": Status.CHANGED,
        "net/rectified": Status.RENAMED,
        "net/scaled": Status.ADDED,
        "out": Status.CHANGED,
    }
    assert [f.field for f in found["out"].fields] == ["input[0]"]
    assert "net/mul" not in found and "x" not in found


def test_constants_are_compared_in_numbers() -> None:
    tensor = {c.name: c for c in compared().nodes}["net/kernel"].fields[0].tensor
    assert tensor is not None
    assert tensor.before == tensor.after == "float shape[3]"
    assert tensor.max_difference == 2.0
    assert tensor.sparsity_before == pytest.approx(1 / 3)
    assert tensor.sparsity_after == pytest.approx(2 / 3)


def test_a_constant_that_claims_to_be_huge_is_not_unfolded() -> None:
    from graphrev.ir import Shape, TensorValue

    huge = TensorValue(DType.FLOAT, Shape((1 << 40,)), floats(1.0).raw)
    before = Graph.of([node("c", "Const", value=huge)])
    after = Graph.of([node("c", "Const", value=floats(1.0))])
    assert diff(before, after).nodes[0].fields[0].tensor.max_difference is None  # type: ignore[union-attr]


def test_a_renamed_node_is_one_change_and_its_readers_are_none() -> None:
    graph = small()
    renamed = changed(
        graph,
        node("body/relu", "Relu", "net/mul", T=DType.FLOAT),
        node("out", "Identity", "body/relu", T=DType.FLOAT),
        without=("net/relu",),
    )
    changes = diff(graph, renamed).nodes
    assert [(c.status, c.before and c.before.name, c.name) for c in changes] == [
        (Status.RENAMED, "net/relu", "body/relu")
    ]


def test_a_renamed_scope_is_matched_node_by_node() -> None:
    def built(scope: str) -> Graph:
        nodes = [node("x", "Placeholder", dtype=DType.FLOAT)]
        for number in range(20):
            source = nodes[-1].name
            nodes.append(node(f"{scope}/w{number}", "Const", value=floats(1.0)))
            nodes.append(node(f"{scope}/op{number}", "Mul", source, f"{scope}/w{number}"))
        return Graph.of(nodes)

    changes = diff(built("old"), built("new")).nodes
    assert {c.status for c in changes} == {Status.RENAMED}
    assert all(c.before and c.before.name.replace("old", "new") == c.name for c in changes)
    assert len(changes) == 40


def test_control_inputs_are_a_set_and_colocation_follows_renames() -> None:
    before = Graph.of(
        [node("a", "NoOp"), node("b", "NoOp"), node("c", "NoOp", controls=("a", "b"))]
    )
    after = Graph.of([node("a", "NoOp"), node("b", "NoOp"), node("c", "NoOp", controls=("b", "a"))])
    assert diff(before, after).is_empty


def test_what_is_ignored_or_out_of_scope_is_left_out() -> None:
    graph = small()
    moved = changed(
        graph, graph["net/mul"].evolve(device="/cpu:0"), graph["out"].evolve(device="/gpu:0")
    )
    assert diff(graph, moved, ignore=["device"]).is_empty
    assert [c.name for c in diff(graph, moved, scope="^net/").nodes] == ["net/mul"]
    with pytest.raises(UsageError, match="regular expression"):
        diff(graph, moved, scope="(")


def test_dangling_and_cyclic_graphs_are_compared_all_the_same() -> None:
    before = Graph.of([node("a", "Relu", "b"), node("b", "Relu", "a"), node("c", "Relu", "gone")])
    after = Graph.of([node("d", "Relu", "e"), node("e", "Relu", "d"), node("c", "Tanh", "gone")])
    found = diff(before, after)
    assert found.before.memory is None
    assert found.nodes
    assert found.to_text() and found.to_svg() and found.to_html()


@pytest.mark.parametrize("name", ["revnet", "summaries_and_head", "dropout"])
def test_every_change_of_a_run_carries_pass_block_and_reason(fixtures: Path, name: str) -> None:
    path = fixtures / f"{name}.meta.gz"
    result = api.rewrite(path, "reversible")
    found = diff(path, result)
    assert found.nodes
    for change in found.nodes:
        assert change.why, change.name
        assert all(c.pass_name == "reversible" and c.subject and c.reason for c in change.why)
    clones = [change for change in found.nodes if change.clone_of]
    assert clones
    assert all(change.clone_of in result.report.run.before for change in clones)
    assert diff(path, result.report).counts == found.counts


def test_the_edit_log_applied_to_the_first_graph_gives_the_second(fixtures: Path) -> None:
    result = api.rewrite(fixtures / "revnet.meta.gz", "reversible")
    run = result.report.run
    assert diff(replay(run.before, run.edits), run.after).is_empty


def test_a_run_from_another_graph_explains_nothing(fixtures: Path) -> None:
    result = api.rewrite(fixtures / "revnet.meta.gz", "reversible")
    assert diff(small(), result).run is None


def test_signatures_collections_and_variables_are_compared(fixtures: Path) -> None:
    found = diff(fixtures / "revnet.meta.gz", fixtures / "dropout.meta.gz", ignore=["attrs"])
    kinds = {entry.kind for entry in found.entries}
    assert {"variable", "collection", "stripped_op"} <= kinds


def test_json_is_plain_and_the_same_every_time() -> None:
    import json

    one, other = (json.dumps(compared().to_json(), allow_nan=False) for _ in range(2))
    assert one == other
    data = json.loads(one)
    assert data["schema"] == "graphrev-diff/1"
    assert sum(data["counts"].values()) == len(data["nodes"])
    assert data["scopes"][0]["scope"] == ""
