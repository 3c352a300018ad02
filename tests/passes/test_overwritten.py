"""Variables that the forward pass itself overwrites: copies read the value that it read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

import graphrev as gr
from graphrev.api import verify
from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.nets import snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")
Body = Callable[[Any, Any, Any], Any]
REVERSIBLE, RECOMPUTE = "reversible{detect=structural}", "recompute"


def _weights(name: str, resource: bool) -> tuple[Any, Any]:
    with tf.variable_scope(name):
        draw = tf.random_normal_initializer(0.0, 0.3, seed=1)
        w = tf.get_variable("w", [8, 8], initializer=draw, use_resource=resource)
        zeros = tf.zeros_initializer()
        s = tf.get_variable("s", [8], initializer=zeros, trainable=False, use_resource=resource)
    return w, s


def _plain(h: Any, s: Any, training: Any) -> Any:
    del training
    return tf.tanh(h - s)


def _branch(h: Any, s: Any, training: Any) -> Any:
    return tf.cond(training, lambda: tf.tanh(h), lambda: tf.tanh(h - s))


def net(body: Body, when: str, *, resource: bool = False, looped: bool = False) -> Graph:
    """Pairs whose halves subtract a variable that is counted up once a step.

    Args:
        when: ``before`` the gradients, before the ``train`` op only, or ``beside`` it.
    """
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 16], "x")
        training = tf.placeholder_with_default(False, [], "training")
        streams, updates = tuple(tf.split(x, 2, 1)), list[Any]()
        for number in range(3):
            w, s = _weights(f"layer{number}", resource)

            def pair(a: Any, b: Any, w: Any = w, s: Any = s) -> tuple[Any, Any]:
                with gr.recompute_scope():
                    h = tf.matmul(body(tf.matmul(tf.tanh(b), w), s, training), w)
                return b, a + h

            if looped:
                streams = _repeated(pair, streams)
            else:
                streams = pair(*streams)
            mean = tf.reduce_mean(streams[1], 0)
            updates.append(tf.assign_add(s, mean + 1.0, name=f"update{number}"))
        loss = tf.reduce_mean(tf.square(streams[0] + streams[1]), name="loss")
        _train(loss, updates, when)
        return snapshot(live)


def _repeated(pair: Callable[[Any, Any], tuple[Any, Any]], streams: tuple[Any, ...]) -> Any:
    def twice(i: Any, a: Any, b: Any) -> Any:
        return (i + 1, *pair(*pair(a, b)))

    return tf.while_loop(lambda i, *_: i < 3, twice, (tf.constant(0), *streams))[1:]


def _train(loss: Any, updates: list[Any], when: str) -> None:
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    waiting: AbstractContextManager[Any] = tf.control_dependencies(updates)
    with waiting if when == "before" else nullcontext():
        gradients = optimizer.compute_gradients(loss)
    with waiting if when == "train" else nullcontext():
        optimizer.apply_gradients(gradients, name="train")


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
@pytest.mark.parametrize("when", ["before", "train", "beside"])
@pytest.mark.parametrize("body", [_plain, _branch])
def test_copies_read_what_the_forward_pass_read(body: Body, when: str, pass_: str) -> None:
    graph = net(body, when)
    outcome = gr.rewrite(graph, pass_)
    assert outcome.changed
    found = verify(graph, outcome.model, fetches=["train", "update0", "update1", "update2"])
    assert found.ok, found.to_text()
    kept = [n for n in outcome.model.graph.nodes.values() if n.op == "DeepCopy"]
    assert kept
    assert all(n.inputs[0].node.endswith("s/read") for n in kept)


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
@pytest.mark.parametrize("when", ["before", "train"])
def test_copies_in_loops_do_too(when: str, pass_: str) -> None:
    graph = net(_plain, when, looped=True)
    outcome = gr.rewrite(graph, pass_)
    assert outcome.changed
    found = verify(graph, outcome.model)
    assert found.ok, found.to_text()
    assert any(n.op == "DeepCopy" for n in outcome.model.graph.nodes.values())


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
def test_reads_of_resource_variables_are_copies_already(pass_: str) -> None:
    graph = net(_plain, "before", resource=True)
    outcome = gr.rewrite(graph, pass_)
    assert verify(graph, outcome.model).ok
    assert not any(n.op == "DeepCopy" for n in outcome.model.graph.nodes.values())


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
def test_initializers_and_optimizers_ask_for_no_copy(pass_: str) -> None:
    with tf.Graph().as_default() as live:
        a, b = tf.split(tf.placeholder(tf.float32, [4, 16], "x"), 2, 1)
        for number in range(2):
            w, s = _weights(f"layer{number}", resource=False)
            with gr.recompute_scope():
                h = tf.matmul(tf.tanh(tf.matmul(tf.tanh(b), w) - s), w)
            a, b = b, a + h
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(a * b), name="train")
        tf.train.Saver()
        graph = snapshot(live)
    outcome = gr.rewrite(graph, pass_)
    assert outcome.changed
    assert not any(n.op == "DeepCopy" for n in outcome.model.graph.nodes.values())


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
def test_a_variable_that_a_loop_counts_up_while_it_is_read_there_is_named(pass_: str) -> None:
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 16], "x")
        w, s = _weights("layer", resource=False)

        def body(i: Any, a: Any, b: Any) -> Any:
            with gr.recompute_scope():
                h = tf.matmul(tf.tanh(tf.matmul(tf.tanh(b), w) - s), w)
            a = a + h
            with tf.control_dependencies([tf.assign_add(s, tf.reduce_mean(h, 0), name="up")]):
                return i + 1, a, b + tf.tanh(tf.matmul(a, w))

        start = (tf.constant(0), *tf.split(x, 2, 1))
        _, a, b = tf.while_loop(lambda i, *_: i < 3, body, start)
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(a * b), name="train")
        graph = snapshot(live)
    outcome = gr.rewrite(graph, pass_)
    assert not outcome.changed
    refused = [r for r in outcome.report.rejections if r.code is Code.VARIABLE_CHANGES]
    assert any("up" in node for r in refused for node in r.nodes)


@pytest.mark.parametrize("pass_", [REVERSIBLE, RECOMPUTE])
def test_live_graphs_keep_the_value_too(pass_: str) -> None:
    graph = net(_plain, "before")
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        gr.rewrite(live, pass_)
        assert any(op.type == "DeepCopy" for op in live.get_operations())
        found = verify(graph, snapshot(live))
    assert found.ok, found.to_text()
