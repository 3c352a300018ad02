"""Branches of v1 conds inside a block: batch norm and dropout with a placeholder for training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf.control_flow_pb2 import CondContextDef

import graphrev as gr
from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.nets import dense, rewrite, snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def normed(x: Any, name: str, training: Any, resource: bool) -> Any:
    """Batch statistics and a moving average of them in training, the moving average otherwise."""
    with tf.variable_scope(name):
        moving = tf.get_variable(
            "moving", [8], initializer=tf.zeros_initializer, trainable=False, use_resource=resource
        )

    def by_batch() -> Any:
        mean = tf.reduce_mean(x, 0)
        return dense(x - mean, name, resource=resource), mean

    def by_average() -> Any:
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            return dense(x - moving, name, resource=resource), moving + 0.0

    dense(x, name, resource=resource)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        y, mean = tf.cond(training, by_batch, by_average)
    tf.add_to_collection("updates", tf.assign_sub(moving, 0.1 * (moving - mean)))
    return y


def dropped(x: Any, name: str, training: Any, resource: bool) -> Any:
    h = dense(x, name, resource=resource)
    return tf.cond(training, lambda: tf.nn.dropout(h, rate=0.4, seed=3), lambda: tf.identity(h))


def nested(x: Any, name: str, training: Any, resource: bool) -> Any:
    big = tf.reduce_sum(x) > 0.0
    return tf.cond(
        training,
        lambda: tf.cond(big, lambda: tf.tanh(x) * 2.0, lambda: tf.nn.softplus(x)),
        lambda: dense(x, name, resource=resource),
    )


def looped(x: Any, name: str, training: Any, resource: bool) -> Any:
    del name, training, resource
    return tf.while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, tf.tanh(h)), (0, x))[1]


def net(half: Any, *, resource: bool = True, train: bool = True, inside: bool = False) -> Graph:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(2)
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        training = tf.placeholder(tf.bool, [], name="training")
        x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)

        def pairs() -> Any:
            a, b = x1, x2
            for number in range(3):
                with tf.variable_scope(f"pair{number}"):
                    a = a + half(b, "f", training, resource)
                    b = b + half(a, "g", training, resource)
            return a, b

        a, b = tf.cond(tf.reduce_sum(x) < 99.0, pairs, lambda: (x1, x2)) if inside else pairs()
        loss = tf.reduce_mean(tf.square(a + 0.5 * b), name="loss")
        if train:
            with tf.control_dependencies(tf.get_collection("updates")):
                tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        return snapshot(graph)


def trained(graph: Graph, grappler: bool = True) -> list[Any]:
    """Losses over steps in both modes, and the variables afterwards."""
    x = np.random.RandomState(0).randn(4, 8).astype(np.float32)
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not grappler
    config.graph_options.rewrite_options.min_graph_nodes = -1
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        operations = live.get_operations()
        session.run([op for op in operations if op.name.endswith("/Assign")])
        found: list[Any] = []
        for training in (True, False, True, False):
            feeds = {"x:0": x, "training:0": training}
            found.append(session.run(["loss:0", "train"], feeds)[0])
        ends = ("/Read/ReadVariableOp", "/read")
        reads = [op.outputs[0] for op in operations if op.name.endswith(ends)]
        return [*found, *session.run(reads)]


HALVES = [normed, dropped, nested]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("grappler", [True, False])
def test_block_with_branches_inside_trains_as_before(
    half: Any, resource: bool, grappler: bool
) -> None:
    graph = net(half, resource=resource)
    outcome, plan = rewrite(graph)
    assert [len(block.halves) for block in plan.blocks] == [6]
    before, after = trained(graph, grappler), trained(outcome.after, grappler)
    assert len(before) > 4
    for left, right in zip(before, after):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("half", [dropped, nested])
def test_block_in_a_branch_with_branches_inside_trains_as_before(half: Any) -> None:
    graph = net(half, inside=True)
    outcome, plan = rewrite(graph)
    assert plan.blocks
    for left, right in zip(trained(graph), trained(outcome.after)):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_what_may_be_dead_is_waited_for_through_a_control_trigger() -> None:
    outcome, plan = rewrite(net(normed))
    waits = [half for half in plan.blocks[0].halves if half.conditional_triggers]
    assert waits
    triggers = [n for n in outcome.after.nodes.values() if n.op == "ControlTrigger"]
    waited = {name for half in waits for name in half.conditional_triggers}
    assert waited <= {source for node in triggers for source in node.control_inputs}
    gates = [n for n in outcome.after.nodes.values() if n.name.endswith("/gate")]
    assert all(waited.isdisjoint(gate.control_inputs) for gate in gates)


def test_zeros_for_the_other_branch_are_made_from_the_copy() -> None:
    graph = net(dropped)
    after = rewrite(graph)[0].after
    makers = [
        name
        for name, node in graph.nodes.items()
        if node.op == "Switch"
        and any(graph[reader].op == "Shape" for reader in graph.readers.get(name, ()))
    ]
    moved = [name for name in makers if after[name].inputs[0] != graph[name].inputs[0]]
    assert moved
    for name in moved:
        assert "_graphrev_block" in after[after[name].inputs[0].node].attrs


def test_loop_inside_a_half_is_left_alone() -> None:
    graph = net(looped)
    outcome, plan = rewrite(graph)
    assert outcome.after is graph
    assert Code.CROSSES_FRAME in {rejection.code for rejection in plan.rejections}


def test_branches_that_nothing_differentiates_yet_are_left_alone() -> None:
    graph = net(dropped, train=False)
    outcome, plan = rewrite(graph)
    assert outcome.after is graph
    assert {r.code for r in plan.rejections} == {Code.CROSSES_FRAME}


def test_rewritten_file_lists_the_copies_in_the_contexts_of_their_originals(tmp_path: Any) -> None:
    with tf.Graph().as_default():
        training = tf.placeholder(tf.bool, [], name="training")
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        a, b = tf.split(dense(x, "stem", 16), 2, axis=1)
        for number in range(2):
            with tf.variable_scope(f"pair{number}"):
                a = a + dropped(b, "f", training, True)
                b = b + dropped(a, "g", training, True)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(a * b), name="train")
        tf.train.export_meta_graph(str(tmp_path / "plain.meta"))
    gr.rewrite(tmp_path / "plain.meta", "reversible{detect=structural}").save(
        tmp_path / "flat.meta"
    )
    meta = tf.MetaGraphDef.FromString((tmp_path / "flat.meta").read_bytes())
    origins = {
        node.name: node.attr["_graphrev_clone_of"].s.decode()
        for node in meta.graph_def.node
        if "_graphrev_clone_of" in node.attr
    }
    listed = 0
    for raw in meta.collection_def["cond_context"].bytes_list.value:
        values = set(CondContextDef.FromString(raw).values_def.values)
        for copy, origin in origins.items():
            assert (f"{copy}:0" in values) == (f"{origin}:0" in values)
            listed += f"{copy}:0" in values
    assert listed
    with tf.Graph().as_default():
        tf.train.import_meta_graph(str(tmp_path / "flat.meta"))
