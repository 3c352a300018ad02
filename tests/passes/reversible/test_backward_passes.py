"""Graphs that are differentiated more than once: each backward pass runs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.passes.reversible import ReversiblePlan
from graphrev.pipeline import Code
from tests.nets import Branch, dense, rewrite, snapshot, tf

FEEDS = {
    "x:0": np.linspace(-1, 1, 64).reshape(4, 16),
    "t1:0": np.ones((4, 8)),
    "t2:0": -np.ones((4, 8)),
}


def two_optimizers(resource: bool = True, f: Branch | None = None, own: bool = False) -> Graph:
    """One chain, two losses with labels and optimizers of their own.

    Args:
        own: the second optimizer updates the variables of its own head alone.
    """
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        x = tf.placeholder(tf.float32, [4, 16], "x")
        a, b = tf.split(x, 2, axis=1)
        for number in range(3):
            with tf.variable_scope(f"pair{number}"):
                a = a + (f or dense)(b, "f", resource=resource)
                b = b + dense(a, "g", resource=resource)
        head = dense(b, "head", resource=resource)
        losses = [
            tf.reduce_mean(tf.square(value - tf.placeholder(tf.float32, [4, 8], f"t{number}")))
            for number, value in ((1, a), (2, head))
        ]
        heads = [v for v in tf.trainable_variables() if v.name.startswith("head")]
        for number, loss in enumerate(losses, 1):
            variables = heads if own and number == 2 else None
            optimizer = tf.train.GradientDescentOptimizer(0.1)
            optimizer.minimize(
                tf.identity(loss, f"loss{number}"), None, variables, name=f"train{number}"
            )
        tf.global_variables_initializer()
        return snapshot(graph)


def trained(graph: Graph, *steps: tuple[str, tuple[str, ...]]) -> Mapping[str, Any]:
    """The variables after running each op with no more than its own feeds."""
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run("init")
        for op, fed in steps:
            session.run(op, {name: FEEDS[name] for name in fed})
        names = [n for n, node in graph.nodes.items() if node.op in ("VariableV2", "VarHandleOp")]
        reads = [
            name
            if graph[name].op == "VariableV2"
            else next(r for r in graph.readers[name] if graph[r].op == "ReadVariableOp")
            for name in names
        ]
        return dict(zip(names, session.run([f"{read}:0" for read in reads])))


FIRST, SECOND = ("train1", ("x:0", "t1:0")), ("train2", ("x:0", "t2:0"))


@pytest.mark.parametrize("steps", [(FIRST,), (SECOND,), (FIRST, SECOND, FIRST)])
def test_each_optimizer_runs_without_the_labels_of_the_other(steps: Any) -> None:
    graph = two_optimizers()
    outcome, plan = rewrite(graph)
    assert [block.name for block in plan.blocks] == ["block_0", "block_0_pass1"]
    before, after = trained(graph, *steps), trained(outcome.after, *steps)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_bytes_freed_are_counted_once() -> None:
    _, plan = rewrite(two_optimizers())
    freed = [block.freed_bytes for block in plan.blocks]
    assert freed[0] and freed[1] is not None
    read = {r.tensor for b in plan.blocks for h in b.halves for r in h.redirects}
    streams = {r.tensor for b in plan.blocks for h in b.halves for r in h.stream_redirects}
    assert sum(f or 0 for f in freed) == len(read | streams) * 4 * 8 * 4


def test_a_reference_variable_another_optimizer_updates_is_a_reason_not_to() -> None:
    _, plan = rewrite(two_optimizers(resource=False))
    assert not plan.blocks
    assert Code.VARIABLE_CHANGES in {rejection.code for rejection in plan.rejections}


def test_an_optimizer_that_updates_other_variables_is_none() -> None:
    graph = two_optimizers(resource=False, own=True)
    outcome, plan = rewrite(graph)
    assert len(plan.blocks) == 1
    before, after = trained(graph, FIRST, SECOND), trained(outcome.after, FIRST, SECOND)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_both_passes_repeat_the_numbers_the_forward_pass_drew() -> None:
    def drops(x: Any, name: str, **options: Any) -> Any:
        return dense(tf.nn.dropout(x, rate=0.5), name, **options)

    graph = two_optimizers(f=drops)
    after = rewrite(graph, random="stateless")[0].after
    drawn = [n for n, node in after.nodes.items() if node.op == "StatelessRandomUniform"]
    clones = {n: str(after[n].attrs[CLONE_ATTR]) for n in drawn if CLONE_ATTR in after[n].attrs}
    originals = [n for n in drawn if n not in clones]
    assert len(originals) == 3 and len(clones) == 6
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(after)), name="")
        session.run("init")
        values = session.run({n: f"{n}:0" for n in drawn}, FEEDS)
    for number in range(3):
        same = [value for name, value in values.items() if f"pair{number}/" in name]
        assert len(same) == 3
        assert np.array_equal(same[0], same[1]) and np.array_equal(same[0], same[2])


def _pairs(plan: ReversiblePlan) -> int:
    return sum((len(block.halves) + 1) // 2 for block in plan.blocks)


@pytest.mark.parametrize("together", [True, False])
def test_losses_that_are_differentiated_together_are_one_pass(together: bool) -> None:
    """An auxiliary head half-way belongs to the pass it is summed into."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 16], "x")
        a, b = tf.split(x, 2, axis=1)
        losses: list[Any] = []
        for number in range(4):
            with tf.variable_scope(f"pair{number}"):
                a = a + dense(b, "f")
                b = b + dense(a, "g")
                losses.append(tf.reduce_mean(tf.square(dense(b, "aux"))))
        variables = tf.trainable_variables()
        wanted = [tf.add_n(losses)] if together else [losses[3], tf.reduce_mean(tf.square(a))]
        for loss in wanted:
            tf.gradients(loss, variables)
        plan = rewrite(snapshot(graph))[1]
    assert _pairs(plan) == (4 if together else 8)
    assert len(plan.blocks) == (1 if together else 2)


def test_a_loss_with_a_constant_gradient_is_one_pass() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 16], "x")
        a, b = tf.split(x, 2, axis=1)
        for number in range(3):
            with tf.variable_scope(f"pair{number}"):
                a = a + dense(b, "f")
                b = b + dense(a, "g")
        tf.gradients(tf.reduce_sum(a) + tf.reduce_sum(b), tf.trainable_variables())
        plan = rewrite(snapshot(graph))[1]
    assert len(plan.blocks) == 1
    assert _pairs(plan) == 3
