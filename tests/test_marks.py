from __future__ import annotations

from typing import Any

import pytest

import graphrev
from graphrev.errors import UsageError
from graphrev.ir import Node
from graphrev.ir.marks import PAIR_ATTR, PairMark, is_opted_out, pair_marks
from tests.nets import dense, snapshot, tf


def marks(graph: Any, name: str) -> list[str]:
    return [mark.encode().decode() for mark in pair_marks(snapshot(graph)[name])]


def test_everything_built_inside_is_marked_and_nothing_outside() -> None:
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="before")
        with graphrev.residual_pair("block"):
            tf.constant(1.0, name="inside")
        tf.constant(1.0, name="after")
    assert marks(graph, "inside") == ["block"]
    assert marks(graph, "before") == marks(graph, "after") == []


def test_names_are_made_unique_in_a_graph_and_start_again_in_another() -> None:
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            for number, name in enumerate(("block", "block", None, None, "block")):
                with graphrev.residual_pair(name):
                    tf.constant(1.0, name=f"c{number}")
        found = [marks(graph, f"c{number}")[0] for number in range(5)]
        assert found == ["block", "block_1", "pair", "pair_1", "block_2"]


def test_made_up_name_does_not_meet_one_that_was_given() -> None:
    with tf.Graph().as_default() as graph:
        for number, name in enumerate(("block", "block_1", "block", "block_1")):
            with graphrev.residual_pair(name):
                tf.constant(1.0, name=f"c{number}")
    assert len({marks(graph, f"c{number}")[0] for number in range(4)}) == 4


def test_nested_marks_are_all_kept_from_the_outermost_in() -> None:
    with tf.Graph().as_default() as graph, graphrev.residual_pair("outer"):
        with graphrev.residual_pair("inner"):
            tf.constant(1.0, name="both")
        tf.constant(1.0, name="one")
    assert marks(graph, "both") == ["outer", "inner"]
    assert marks(graph, "one") == ["outer"]


def test_mark_ends_when_building_fails() -> None:
    with tf.Graph().as_default() as graph:
        for scope in (graphrev.residual_pair, graphrev.no_rewrite):
            with pytest.raises(ZeroDivisionError), scope():
                raise ZeroDivisionError
        tf.constant(1.0, name="after")
    node = snapshot(graph)["after"]
    assert pair_marks(node) == ()
    assert not is_opted_out(node)


def test_opting_out_marks_what_is_inside() -> None:
    with tf.Graph().as_default() as graph:
        with graphrev.no_rewrite(), graphrev.residual_pair("p"):
            tf.constant(1.0, name="inside")
        tf.constant(1.0, name="outside")
    ours = snapshot(graph)
    assert is_opted_out(ours["inside"])
    assert marks(graph, "inside") == ["p"]
    assert not is_opted_out(ours["outside"])


def test_tensors_are_marked_afterwards_by_role_and_output() -> None:
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(tf.ones([4, 8]), 2, axis=1, name="s")
        y1 = tf.add(x1, x2, name="y1")
        y2 = tf.add(x2, y1, name="y2")
        graphrev.mark_residual_pair(x1, x2, y1, y2, "block")
        graphrev.mark_residual_pair(y1, y2, x1, x2, "block")
    assert marks(graph, "s") == ["block|x1|0", "block|x2|1", "block_1|y1|0", "block_1|y2|1"]
    assert marks(graph, "y1") == ["block|y1|0", "block_1|x1|0"]


def test_mark_of_a_scope_is_kept_when_its_tensors_are_marked_too() -> None:
    with tf.Graph().as_default() as graph, graphrev.residual_pair("p"):
        x1, x2, y1, y2 = (tf.constant(1.0, name=name) for name in ("a", "b", "c", "d"))
        graphrev.mark_residual_pair(x1, x2, y1, y2)
    assert marks(graph, "d") == ["p", "pair|y2|0"]


def test_marks_survive_a_meta_graph() -> None:
    with tf.Graph().as_default() as graph:
        x1, x2 = tf.split(dense(tf.placeholder(tf.float32, [4, 8], "x"), "stem", 16), 2, axis=1)
        with graphrev.residual_pair("block"):
            y1 = x1 + dense(x2, "f")
            y2 = x2 + dense(y1, "g")
        graphrev.mark_residual_pair(x1, x2, y1, y2, "named")
        with graphrev.no_rewrite():
            tf.identity(y1, name="kept")
        meta = tf.train.export_meta_graph()
    with tf.Graph().as_default() as again:
        tf.train.import_meta_graph(meta.SerializeToString() and meta)
    before, after = snapshot(graph), snapshot(again)
    assert any(pair_marks(node) for node in before.nodes.values())
    for name, node in before.nodes.items():
        assert pair_marks(after[name]) == pair_marks(node)
        assert is_opted_out(after[name]) == is_opted_out(node)


def test_marks_change_nothing_but_the_attribute() -> None:
    graphs = []
    for marked in (False, True):
        with tf.Graph().as_default() as graph:
            if marked:
                with graphrev.residual_pair():
                    tf.tanh(tf.placeholder(tf.float32, [2], "x"), name="y")
            else:
                tf.tanh(tf.placeholder(tf.float32, [2], "x"), name="y")
        graphs.append(snapshot(graph))
    plain, marked_ = graphs

    def bare(node: Node) -> Any:
        attrs = {k: v for k, v in node.attrs.items() if k != PAIR_ATTR}
        return node.name, node.op, node.inputs, attrs

    assert list(map(bare, plain.nodes.values())) == list(map(bare, marked_.nodes.values()))


def test_marks_are_refused_where_there_is_no_graph() -> None:
    import tensorflow

    if not tensorflow.executing_eagerly():
        pytest.skip("eager execution was switched off in this process")
    for scope in (graphrev.residual_pair, graphrev.no_rewrite):
        with pytest.raises(UsageError, match="TensorFlow runs eagerly here"), scope():
            pass
    value = tensorflow.constant(1.0)
    with pytest.raises(UsageError, match="four tensors of one graph"):
        graphrev.mark_residual_pair(value, value, value, value)


def test_tensors_of_two_graphs_are_refused_and_nothing_is_marked() -> None:
    tensors, graphs = [], []
    for _ in range(2):
        with tf.Graph().as_default() as graph:
            tensors += [tf.constant(1.0, name=n) for n in "ab"]
            graphs.append(graph)
    with pytest.raises(UsageError, match="four tensors of one graph"):
        graphrev.mark_residual_pair(*tensors)
    assert all(marks(graph, name) == [] for graph in graphs for name in "ab")


def test_id_with_bars_reads_back() -> None:
    with tf.Graph().as_default() as graph:
        tensors = [tf.constant(1.0, name=n) for n in "abcd"]
        graphrev.mark_residual_pair(*tensors, name="a|x1|0")
    assert pair_marks(snapshot(graph)["d"]) == (PairMark("a|x1|0", "y2", 0),)
