from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import graphrev
from graphrev.errors import InvalidGraphError, InvalidInputError, UsageError
from graphrev.io import encode_graph
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.notation import to_text
from graphrev.passes import Reversible
from tests.nets import dense, tf, training

PASS = "reversible{detect=structural}"


def definition(graph: Graph) -> Any:
    return tf.GraphDef.FromString(encode_graph(graph))


def spelled(graph: Graph) -> str:
    """The graph as text, whatever order protobuf gave the attributes."""
    return to_text(
        Graph.of(n.evolve(attrs=dict(sorted(n.attrs.items()))) for n in graph.nodes.values())
    )


def meta_graph() -> Any:
    with tf.Graph().as_default():
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        y1 = x1 + dense(x2, "f")
        y2 = x2 + dense(y1, "g")
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y1 * y2))
        return tf.train.export_meta_graph()


def test_every_kind_of_target_gives_the_same_rewritten_graph(tmp_path: Path) -> None:
    graph = training()
    path = tmp_path / "g.pb"
    path.write_bytes(encode_graph(graph))
    results = [
        graphrev.rewrite(target, PASS)
        for target in (graph, definition(graph), path, str(path), graphrev.load(path))
    ]
    texts = {spelled(result.model.graph) for result in results}
    assert len(texts) == 1
    assert all(result.changed for result in results)
    assert path.read_bytes() == encode_graph(graph)


def test_input_messages_are_never_changed() -> None:
    graph_def, meta = definition(training()), meta_graph()
    copies = graph_def.SerializeToString(), meta.SerializeToString()
    assert graphrev.rewrite(graph_def, PASS).changed
    assert graphrev.rewrite(meta, PASS).changed
    assert graphrev.analyze(meta, PASS).changed
    assert (graph_def.SerializeToString(), meta.SerializeToString()) == copies


def test_result_is_a_message_that_tensorflow_imports() -> None:
    result = graphrev.rewrite(meta_graph(), PASS)
    with tf.Graph().as_default() as live:
        tf.train.import_meta_graph(result.meta_graph_def)
        names = {operation.name for operation in live.get_operations()}
        assert {node.name for node in result.graph_def.node} <= names
        assert live.get_collection("train_op")


def test_bare_graph_has_no_meta_graph_to_return() -> None:
    result = graphrev.rewrite(training(), PASS)
    with pytest.raises(UsageError, match="no MetaGraphDef"):
        _ = result.meta_graph_def


def test_result_can_be_saved_once_and_rewritten_again(tmp_path: Path) -> None:
    result = graphrev.rewrite(training(), PASS)
    path = tmp_path / "out.pb"
    result.save(path)
    assert spelled(graphrev.load(path).graph) == spelled(result.model.graph)
    with pytest.raises(UsageError, match="overwrite"):
        result.save(path)
    result.save(path, overwrite=True)
    assert not graphrev.rewrite(result, PASS).changed
    assert [p.name for p in tmp_path.iterdir()] == ["out.pb"]


def test_passes_are_objects_names_specifications_or_lists_of_them() -> None:
    graph = training(mark=graphrev.residual_pair)
    for passes in ("reversible", Reversible(), ["reversible"], (Reversible(), "reversible")):
        assert graphrev.rewrite(graph, passes).changed
    nothing = graphrev.rewrite(graph, [])
    assert not nothing.changed
    assert nothing.model.graph is graph
    assert nothing.edits == ()


def test_analyze_says_what_rewrite_does_and_keeps_the_input() -> None:
    graph = training()
    text = to_text(graph)
    report = graphrev.analyze(graph, PASS)
    assert report.changed
    assert to_text(graph) == text
    assert report.to_json() == graphrev.rewrite(graph, PASS).report.to_json()


def test_report_predicts_memory_for_the_batch_that_is_given() -> None:
    graph = training(pairs=8, shape=(None, 8))
    for feeds in ({"x": (4096, 8)}, {"x:0": [4096, 8]}):
        report = graphrev.analyze(graph, PASS, feeds=feeds)
        assert report.memory_after.peak_bytes < report.memory_before.peak_bytes
        assert "MB afterwards" in report.to_text()


def test_training_ops_named_by_a_meta_graph_are_the_step() -> None:
    meta = meta_graph()
    (name,) = meta.collection_def["train_op"].node_list.value
    assert graphrev.analyze(meta).targets == (name.removesuffix(":0"),)


def test_verify_takes_results_and_lists_as_shapes() -> None:
    graph = training(shape=(None, 8))
    outcome = graphrev.verify(graph, graphrev.rewrite(graph, PASS), feeds={"x": (3, 8)})
    assert outcome.ok, outcome.to_text()


@pytest.mark.parametrize("target", [3, None, b"bytes", object()])
def test_target_of_another_kind_is_refused(target: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot be rewritten\. Pass a path"):
        graphrev.rewrite(target, PASS)


def test_wrong_passes_are_refused_before_anything_is_read() -> None:
    for wrong in ("reversable", ["reversible", "reversable"]):
        with pytest.raises(UsageError, match="Did you mean 'reversible'"):
            graphrev.rewrite("absent.pb", wrong)
    for odd in (Reversible, 3, [None]):
        with pytest.raises(UsageError, match="no pass"):
            graphrev.rewrite(training(), odd)  # type: ignore[arg-type]


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        graphrev.load(tmp_path / "absent.pb")
    path = tmp_path / "damaged.pb"
    path.write_bytes(encode_graph(training())[:-7])
    with pytest.raises(InvalidInputError, match="damaged"):
        graphrev.load(path)


def test_invalid_graph_is_named_with_its_source(tmp_path: Path) -> None:
    broken = Graph.of([Node("b", "Neg", (TensorRef("gone"),))])
    path = tmp_path / "broken.pb"
    path.write_bytes(encode_graph(broken))
    with pytest.raises(InvalidGraphError, match=r"broken\.pb.*reads 'gone:0'"):
        graphrev.load(path)
    for call in (graphrev.analyze, graphrev.rewrite):
        with pytest.raises(InvalidGraphError, match=r"a graph.*reads 'gone:0'"):
            call(broken, PASS)


def test_progress_is_told() -> None:
    said: list[str] = []
    graphrev.rewrite(training(), PASS, progress=said.append)
    assert said[0] == "verifying the input"
    assert "applying reversible" in said


def test_every_public_name_is_there() -> None:
    for name in graphrev.__all__:
        assert getattr(graphrev, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = graphrev.nonsense


def test_import_and_analysis_of_a_file_need_no_tensorflow(tmp_path: Path) -> None:
    path = tmp_path / "g.pb"
    path.write_bytes(encode_graph(training()))
    code = (
        "import sys, graphrev\n"
        f"assert graphrev.rewrite({str(path)!r}, {PASS!r}).changed\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
