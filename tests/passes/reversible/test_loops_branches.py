"""Blocks inside branches of v1 conds: rewritten, taken and not taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir import Graph
from tests.nets import dense, rewrite, snapshot, tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def branched(*, resource: bool = True, both: bool = False, train: bool = True) -> Graph:
    """Two pairs in the branch taken when ``flag`` is true."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        flag = tf.placeholder(tf.bool, [], name="flag")
        x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)

        def pairs(name: str) -> Any:
            a, b = x1, x2
            with tf.variable_scope(name):
                for number in range(2):
                    a = a + tf.nn.softplus(dense(b, f"f{number}", resource=resource))
                    b = b + tf.nn.softplus(dense(a, f"g{number}", resource=resource))
            return a, b

        a, b = tf.cond(
            flag,
            lambda: pairs("yes"),
            lambda: pairs("no") if both else (x1 * 1.0, tf.tanh(x2)),
        )
        loss = tf.reduce_mean(tf.square(a) + tf.square(b), name="loss")
        if train:
            tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss, name="train")
        return snapshot(graph)


def trained(graph: Graph) -> list[Any]:
    """Losses over some steps, the branch taken and not, and the variables afterwards."""
    x = np.random.RandomState(0).randn(4, 8).astype(np.float32)
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        assigns = [op for op in live.get_operations() if op.name.endswith("/Assign")]
        session.run(assigns)
        found: list[Any] = []
        for flag in (True, False, True, False, True):
            found.append(session.run("loss:0", {"x:0": x, "flag:0": flag}))
            session.run("train", {"x:0": x, "flag:0": flag})
        ends = ("/Read/ReadVariableOp", "/read")
        reads = [op.outputs[0] for op in live.get_operations() if op.name.endswith(ends)]
        assert reads
        return [*found, *session.run(reads)]


@pytest.mark.parametrize("both", [False, True])
def test_block_in_a_branch_trains_as_before(both: bool) -> None:
    graph = branched(both=both)
    run, plan = rewrite(graph)
    assert [len(block.halves) for block in plan.blocks] == [4] * (1 + both)
    for left, right in zip(trained(graph), trained(run.after)):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)


def test_copies_in_a_branch_wait_for_the_backward_pass() -> None:
    _, plan = rewrite(branched())
    (block,) = plan.blocks
    assert all(half.triggers for half in block.halves if not half.is_idle)


def test_updates_of_reference_variables_wait_for_the_copies_in_a_branch() -> None:
    graph = branched(resource=False)
    run, plan = rewrite(graph)
    (block,) = plan.blocks
    assert block.guards
    for left, right in zip(trained(graph), trained(run.after)):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
    for guard in block.guards:
        (trigger,) = set(run.after[guard.mutator].control_inputs) - {
            *graph[guard.mutator].control_inputs
        }
        assert run.after[trigger].op == "ControlTrigger"


def test_branch_nobody_differentiates_is_left_to_whoever_does() -> None:
    _, plan = rewrite(branched(train=False))
    assert [bool(block.deferred) for block in plan.blocks] == [True]
