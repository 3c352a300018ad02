"""Streams that come out of an op which makes zeros or ties, and whose gradient compares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.nets import assert_same_training, batch, dense, one_step, rewrite, snapshot, tf
from tests.passes.reversible import loop_nets

Stem = Callable[[Any], Any]
STEMS: dict[str, Stem] = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "selu": tf.nn.selu,
}
SMOOTH: dict[str, Stem] = {
    # Its gradient compares a reshaped copy that is made in the forward pass.
    "largest": lambda x: tf.reduce_max(tf.reshape(tf.concat([x, tf.nn.relu(x)], 1), [64, 8, 2]), 2),
    "tanh": tf.tanh,
    "sum": lambda x: x + 1.0,
    "relu and sum": lambda x: tf.nn.relu(x) + x,
}


def net(stem: Stem, pairs: int = 4) -> Graph:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        x = tf.placeholder(tf.float32, [64, 8], name="x")
        x1, x2 = (stem(dense(x, f"stem{number}") * 3.0) for number in range(2))
        for number in range(pairs):
            with tf.variable_scope(f"pair{number}"):
                x1 = x1 + dense(x2, "f")
                x2 = x2 + dense(x1, "g")
        loss = tf.reduce_mean(tf.square(x1 + 0.5 * x2), name="loss")
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        return snapshot(graph)


def error(before: Graph, after: Graph) -> float:
    """The largest relative difference of a weight's gradient (all of them are fetched)."""
    names = [
        f"{node.inputs[2]}" for node in before.nodes.values() if node.op.startswith("ResourceApply")
    ]
    feeds = {"x:0": batch(64)}
    pairs = zip(one_step(before, feeds, names), one_step(after, feeds, names))
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs)


@pytest.mark.parametrize("kind", list(STEMS))
def test_a_first_stream_that_its_own_gradient_compares_is_kept(kind: str) -> None:
    before = net(STEMS[kind])
    outcome, plan = rewrite(before)
    assert error(before, outcome.after) < 1e-5
    assert_same_training(before, outcome.after)
    (block,) = plan.blocks
    assert len(block.saved) == 2
    kept = [r for r in plan.rejections if r.code is Code.COMPARED]
    assert [r.nodes[0] for r in kept] == [ref.node for ref in block.saved]


@pytest.mark.parametrize("kind", list(SMOOTH))
def test_a_first_stream_that_nobody_compares_is_rebuilt(kind: str) -> None:
    before = net(SMOOTH[kind])
    outcome, plan = rewrite(before)
    assert error(before, outcome.after) < 1e-5
    assert [block.saved for block in plan.blocks] == [()]
    assert not [r for r in plan.rejections if r.code is Code.COMPARED]


def test_a_first_stream_in_a_loop_body_keeps_its_stack() -> None:
    def body(i: Any, a: Any, b: Any) -> Any:
        weights = [loop_nets.weight(name) for name in ("p", "q", "f", "g")]
        x1, x2 = tf.nn.relu(tf.matmul(a, weights[0])), tf.nn.relu(tf.matmul(b, weights[1]))
        x1 = x1 + tf.tanh(tf.matmul(x2, weights[2]))
        x2 = x2 + tf.tanh(tf.matmul(x1, weights[3]))
        return i + 1, a + 0.1 * x1, b + 0.1 * x2

    graph, names = loop_nets.build(loop_nets.Net(body))
    before = snapshot(graph)
    outcome, plan = rewrite(before)
    assert plan.loops
    plain, ours = (loop_nets.values(_bytes(g), names, [0, 1, 7]) for g in (before, outcome.after))
    for one, other in zip(plain, ours):
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _bytes(graph: Graph) -> bytes:
    from graphrev.io import encode_graph

    return encode_graph(graph)
