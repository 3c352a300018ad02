"""Every loop, branch and functional node is named with its size."""

from __future__ import annotations

from typing import Any

from graphrev.analysis.frames_summary import places
from graphrev.ir import Graph
from tests.nets import snapshot, tf, training


def built(v2: bool) -> Graph:
    enabled = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if v2 else tf.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [4])

            def body(i: Any, v: Any) -> Any:
                return i + 1, tf.cond(i > 1, lambda: tf.tanh(v), lambda: v * 2.0)

            _, y = tf.while_loop(lambda i, v: i < 3, body, [0, x], name="loop")
            tf.gradients(tf.reduce_sum(y), x)
            return snapshot(graph)
    finally:
        (tf.enable_control_flow_v2 if enabled else tf.disable_control_flow_v2)()


def test_graph_without_control_flow_has_no_places() -> None:
    assert places(training()) == ()


def test_loops_gradient_loops_and_branches_are_named_with_their_sizes() -> None:
    graph = built(v2=False)
    found = places(graph)
    kinds = [place.kind for place in found]
    assert kinds.count("loop") == kinds.count("gradient loop") == 1
    assert "branch" in kinds
    (loop,) = (place for place in found if place.kind == "loop")
    assert loop.name == "loop/while_context" and loop.nodes > 10
    assert "of 'loop/while_context'" in str(found[1])


def test_functional_loops_are_named_with_the_functions_they_run() -> None:
    found = places(built(v2=True))
    loops = [place for place in found if place.kind in ("While", "StatelessWhile")]
    assert len(loops) == 2
    assert all(place.nodes > 0 and "runs " in place.detail for place in loops)
