"""Loops that would wait for themselves are found, others are not."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow

from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.frames_order import circle_through_loops
from graphrev.editor import GraphEditor
from graphrev.io import decode_graph
from graphrev.ir import Graph, TensorRef

tf: Any = tensorflow.compat.v1

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def nest() -> Graph:
    with tf.Graph().as_default() as graph:

        def outer(i: Any, x: Any) -> list[Any]:
            inner = tf.while_loop(
                lambda j, y: j < 3, lambda j, y: [j + 1, tf.sin(y) * x], [0, x + 1.0], name="in"
            )
            return [i + 1, inner[1]]

        tf.while_loop(lambda i, x: i < 2, outer, [0, tf.constant(1.0)], name="out")
        return decode_graph(graph.as_graph_def().SerializeToString())


def test_a_nest_waits_for_nothing_of_its_own() -> None:
    graph = nest()
    assert circle_through_loops(graph, find_frames(graph)) == ()


def test_a_loop_that_is_given_what_it_hands_out_is_named() -> None:
    graph = nest()
    (given,) = [
        name
        for name, node in graph.nodes.items()
        if node.op == "Enter" and node.attrs["is_constant"] and name.startswith("out/in/mul")
    ]
    editor = GraphEditor(graph)
    editor.set_input(given, 0, TensorRef("out/in/Exit_1"))
    changed, _ = editor.finish()
    assert {given, "out/in/Exit_1"} <= set(circle_through_loops(changed, find_frames(changed)))
