"""Loops that cannot be rewritten are refused by name and left alone; marks and live graphs work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph, Node, TensorRef
from graphrev.pipeline import Code
from tests.nets import rewrite
from tests.passes.reversible.loop_nets import Net, build, tf, values
from tests.passes.reversible.test_loops import layer, pair

Change = Callable[[Graph], Graph]


def plain() -> Graph:
    live, _ = build(Net(pair))
    return decode_graph(live.as_graph_def().SerializeToString())


def replaced(graph: Graph, op: str, change: Callable[[Node], Node]) -> Graph:
    return Graph.of([change(n) if n.op == op else n for n in graph.nodes.values()])


def counted_down_by_another_tool(graph: Graph) -> Graph:
    return replaced(graph, "GreaterEqual", lambda node: node.evolve(op="Greater"))


def pushes_without_pops(graph: Graph) -> Graph:
    shape = {"dtype": graph["x"].attrs["dtype"], "shape": graph["x"].attrs["shape"]}
    return replaced(
        graph,
        "StackPopV2",
        lambda node: Node(node.name, "Placeholder", (), node.control_inputs, "", shape),
    )


def stacks_shared_by_two_loops(graph: Graph) -> Graph:
    stacks = [name for name, node in graph.nodes.items() if node.op == "StackV2"]
    enters = [
        name
        for stack in stacks
        for name in graph.readers[stack]
        if graph[name].op == "Enter" and len(graph.readers[name]) == 1
    ]
    first = TensorRef(stacks[0])
    return Graph.of(
        [n.evolve(inputs=(first,)) if n.name in enters else n for n in graph.nodes.values()]
    )


def one_frame_name_for_both(graph: Graph) -> Graph:
    return replaced(graph, "Enter", lambda node: node.with_attr("frame_name", b"same"))


@pytest.mark.parametrize(
    "change",
    [
        counted_down_by_another_tool,
        pushes_without_pops,
        stacks_shared_by_two_loops,
        one_frame_name_for_both,
    ],
)
def test_loop_that_is_not_understood_is_refused_with_its_nodes(change: Change) -> None:
    graph = change(plain())
    run, plan = rewrite(graph)
    assert run.after is graph
    refused = [r for r in plan.rejections if r.code is Code.CROSSES_FRAME]
    assert refused
    assert all(name in graph for r in refused for name in r.nodes)
    assert all(len(r.nodes) >= 2 for r in refused)


def test_stateful_body_is_refused_by_its_op() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        with graphrev.residual_pair():
            a = a + tf.Print(layer(b, "f"), [i])
            b = b + layer(a, "g")
        return [i + 1, a, b]

    live, _ = build(Net(body))
    graph = decode_graph(live.as_graph_def().SerializeToString())
    run, plan = rewrite(graph, detect="marked")
    assert run.after is graph
    assert Code.STATEFUL_OP in {r.code for r in plan.rejections}


def marked(i: Any, a: Any, b: Any) -> list[Any]:
    with graphrev.residual_pair("inside"):
        return pair(i, a, b)


def test_marked_pair_in_a_loop_is_found_by_its_mark() -> None:
    live, names = build(Net(marked))
    serialized = live.as_graph_def().SerializeToString()
    run, plan = rewrite(decode_graph(serialized), detect="marked")
    assert {loop.name.rpartition("_")[0] or loop.name for loop in plan.loops} <= {"inside"}
    assert all(loop.carried for loop in plan.loops) and plan.loops
    before, after = values(serialized, names, [4]), values(encode_graph(run.after), names, [4])
    for left, right in zip(before[0], after[0]):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_no_rewrite_in_the_body_is_respected() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        with graphrev.no_rewrite():
            return pair(i, a, b)

    live, _ = build(Net(body))
    graph = decode_graph(live.as_graph_def().SerializeToString())
    run, plan = rewrite(graph)
    assert run.after is graph
    assert Code.OPTED_OUT in {r.code for r in plan.rejections}


@pytest.mark.parametrize("options", ["", ",anchor_every=2"])
def test_live_graph_is_rewritten_in_place_and_its_stacks_are_not_run(options: str) -> None:
    live, names = build(Net(pair))
    expected = values(live.as_graph_def().SerializeToString(), names, [5])[0]
    report = graphrev.rewrite(live, f"reversible{{detect=structural{options}}}")
    assert report.changed
    with tf.Session(graph=live) as session:
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        x = np.random.RandomState(0).randn(4, 8).astype(np.float32)
        metadata = tf.RunMetadata()
        traced = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        found = session.run(names, {"x:0": x, "n:0": 5}, traced, metadata)
    for left, right in zip(expected, found):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
    stacks = {op.name for op in live.get_operations() if op.type == "StackPushV2"}
    ran = {n.node_name for d in metadata.step_stats.dev_stats for n in d.node_stats}
    anchors = {name for name in stacks & ran if "/anchor/" in name}
    assert stacks & ran == anchors
    assert bool(anchors) == bool(options)


@pytest.mark.parametrize("threads", [1, 2])
def test_values_do_not_depend_on_grappler_or_threads(threads: int) -> None:
    live, names = build(Net(pair))
    serialized = live.as_graph_def().SerializeToString()
    run, _ = rewrite(decode_graph(serialized), anchor_every=3)
    config = {"inter_op_parallelism_threads": threads}
    off = tf.GraphOptions()
    off.rewrite_options.disable_meta_optimizer = True
    plain_values = values(serialized, names, [7])[0]
    for options in (config, {**config, "graph_options": off}):
        for left, right in zip(
            plain_values, values(encode_graph(run.after), names, [7], **options)[0]
        ):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
