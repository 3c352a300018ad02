"""Frames, stacks and gradient loops of v1 while loops, and what is said about broken ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.analysis.frames_loops import ROOT, find_frames
from graphrev.ir import Graph, Node, TensorRef
from tests.nets import snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def loops(depth: int, *, wrap: Callable[[Any], Any] = lambda body: body()) -> Graph:
    """``depth`` loops in each other around a tanh, with gradients."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4], name="x")

        def level(left: int, value: Any) -> Any:
            if left == 0:
                return tf.tanh(value)
            body = lambda i, v: (i + 1, level(left - 1, v))  # noqa: E731
            return tf.while_loop(lambda i, _: i < 2, body, [0, value], name=f"loop{left}")[1]

        y = wrap(lambda: level(depth, x))
        tf.gradients(tf.reduce_sum(y), x)
        return snapshot(graph)


def changed(graph: Graph, *nodes: Node) -> Graph:
    return Graph.of([*graph.nodes.values(), *nodes])


def test_every_forward_loop_of_a_nest_is_matched_with_its_gradient() -> None:
    flow = control_flow(loops(3))
    assert flow.faults == ()
    assert len(flow.frames.loops) == 6
    chain = sorted(flow.gradients)
    assert len(chain) == 3
    (inner,) = flow.gradients[chain[-1]]
    assert inner.outer is not None and inner.outer.outer is not None
    assert inner.outer.outer.outer is None
    assert [stack.branched for stack in inner.stacks] == [False]


def test_loop_inside_a_branch_is_matched_too() -> None:
    def wrap(body: Any) -> Any:
        return tf.cond(tf.placeholder(tf.bool, []), body, lambda: tf.zeros([4]))

    flow = control_flow(loops(1, wrap=wrap))
    assert (flow.faults, len(flow.gradients)) == ((), 1)


def test_every_node_runs_in_one_frame_and_exits_lead_out() -> None:
    graph = loops(2)
    frames = find_frames(graph)
    assert sum(loop.size for loop in frames.loops.values()) == len(frames.of)
    for name, node in graph.nodes.items():
        inside = {frames.frame(ref.node) for ref in node.inputs}
        if node.op == "Exit":
            assert inside == {n for n, f in frames.loops.items() if f.cond and n in inside}
            assert frames.frame(name) == frames.loops[inside.pop()].parent
        elif node.op not in ("Enter", "Merge"):
            assert inside <= {frames.frame(name)}


def test_variables_and_invariants_of_a_loop_are_told_apart() -> None:
    with tf.Graph().as_default() as graph:
        limit, x = tf.placeholder(tf.int32, []), tf.placeholder(tf.float32, [4])
        tf.while_loop(lambda i, v: i < limit, lambda i, v: (i + 1, v * x), [0, x])
        frames = find_frames(snapshot(graph))
    (loop,) = frames.loops.values()
    assert [variable.merge for variable in loop.variables] == ["while/Merge", "while/Merge_1"]
    assert len(loop.invariants) == 2
    assert all(len(variable.exits) == 1 for variable in loop.variables)


def test_exit_without_enter_is_reported_with_its_node() -> None:
    graph = changed(loops(1), Node("lost", "Exit", (TensorRef("x"),)))
    (fault,) = find_frames(graph).faults
    assert fault.nodes == ("lost",)


def test_edge_across_frames_is_reported_with_its_ends() -> None:
    graph = changed(loops(1), Node("both", "Add", (TensorRef("loop1/Tanh"), TensorRef("x"))))
    frames = find_frames(graph)
    assert frames.faults[0].nodes == ("both", "loop1/Tanh", "x")
    assert len(frames.loops) == 1, "the gradient loop is sound"


def test_frame_name_used_twice_is_reported() -> None:
    with tf.Graph().as_default() as graph:
        for name in ("one", "two"):
            tf.while_loop(lambda v: v < 9, lambda v: v + 1, [tf.constant(1.0)], name=name)
    same = [
        node.with_attr("frame_name", b"same") if node.op == "Enter" else node
        for node in snapshot(graph).nodes.values()
    ]
    frames = find_frames(Graph.of(same))
    assert frames.loops == {}
    assert frames.faults[0].nodes == ("one/LoopCond", "two/LoopCond")


def edit(graph: Graph, op: str, change: Callable[[Node], Node | None]) -> ControlFlow:
    nodes = [change(node) if node.op == op else node for node in graph.nodes.values()]
    return control_flow(Graph.of([node for node in nodes if node is not None]))


def test_push_without_pop_is_reported() -> None:
    graph = loops(1)
    stack = next(name for name, node in graph.nodes.items() if node.op == "StackV2")
    flow = edit(graph, "StackPopV2", lambda node: node.evolve(op="Identity"))
    assert any(stack in fault.nodes for fault in flow.faults)
    assert flow.gradients == {}


def test_gradient_loop_with_another_countdown_is_not_trusted() -> None:
    flow = edit(loops(1), "GreaterEqual", lambda node: node.evolve(op="Greater"))
    assert flow.gradients == {}
    assert "runs as often" in flow.faults[0].reason


def test_two_hundred_nested_frames_take_linear_time() -> None:
    def nest(depth: int, width: int) -> Graph:
        nodes, value = [Node("x", "Placeholder")], TensorRef("x")
        for level in range(depth):
            attrs = {"frame_name": f"frame{level}".encode()}
            nodes.append(Node(f"enter{level}", "Enter", (value,), attrs=attrs))
            value = TensorRef(f"enter{level}")
            for number in range(width):
                nodes.append(Node(f"n{level}_{number}", "Neg", (value,)))
                value = TensorRef(nodes[-1].name)
        return Graph.of(nodes)

    def seconds(graph: Graph) -> float:
        graph.index, graph.readers  # noqa: B018  (built once for every analysis)
        start = time.process_time()
        frames = find_frames(graph)
        assert frames.of[list(graph.nodes)[-1]] != ROOT
        return time.process_time() - start

    small = min(seconds(nest(200, 50)) for _ in range(3))
    large = min(seconds(nest(200, 500)) for _ in range(3))
    assert large < 30 * small
