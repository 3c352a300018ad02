"""Regions in branches of v1 conds, around conds and loops, and one behind the other in branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.marks import recompute_scope
from graphrev.pipeline import Code
from tests.nets import batch, dense, snapshot, tf
from tests.passes.recompute.nets import rewrite

Build = Callable[[Any, Any, bool], Any]
"""Makes the output of the net from ``x``, the flag, and whether variables are resources."""


pytestmark = pytest.mark.usefixtures("control_flow_v1")


def part(x: Any, name: str, resource: bool) -> Any:
    """A marked region of three layers."""
    with tf.variable_scope(name), recompute_scope(name):
        for place in range(3):
            x = dense(x, f"layer{place}", resource=resource)
        return x


def in_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    return tf.cond(flag, lambda: part(x, "yes", resource), lambda: tf.sin(x))


def in_both_branches(x: Any, flag: Any, resource: bool) -> Any:
    return tf.cond(flag, lambda: part(x, "yes", resource), lambda: part(x, "no", resource))


def several_in_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    def yes() -> Any:
        return part(part(part(x, "first", resource), "second", resource), "third", resource)

    return tf.cond(flag, yes, lambda: x * 2.0)


def in_other_branches_of_one_predicate(x: Any, flag: Any, resource: bool) -> Any:
    """What comes next is dead exactly when this is not."""
    y = tf.cond(flag, lambda: part(x, "yes", resource), lambda: tf.identity(x))
    return tf.cond(flag, lambda: tf.tanh(y), lambda: part(y, "no", resource))


def in_a_branch_of_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    inner = tf.reduce_sum(x) > 0.0

    def yes() -> Any:
        y = part(x, "outer", resource)
        return tf.cond(inner, lambda: part(y, "inner", resource), lambda: y * 0.5)

    return tf.cond(flag, yes, lambda: tf.sin(x))


def before_and_after_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    return part(in_a_branch(part(x, "before", resource), flag, resource), "after", resource)


PLACES = [
    in_a_branch,
    in_both_branches,
    several_in_a_branch,
    in_other_branches_of_one_predicate,
    in_a_branch_of_a_branch,
    before_and_after_a_branch,
]


def around_a_branch(x: Any, flag: Any, resource: bool) -> Any:
    with tf.variable_scope("around"), recompute_scope("around"):
        h = dense(dense(x, "first", resource=resource), "second", resource=resource)
        h = tf.cond(flag, lambda: tf.nn.dropout(h, rate=0.4, seed=3) * 2.0, lambda: tf.tanh(h))
        return dense(dense(h, "third", resource=resource), "last", resource=resource)


def around_layers_in_branches(x: Any, flag: Any, resource: bool) -> Any:
    with tf.variable_scope("around"), recompute_scope("around"):
        h = dense(x, "first", resource=resource)

        def yes() -> Any:
            return dense(dense(h, "second", resource=resource), "third", resource=resource)

        h = tf.cond(flag, yes, lambda: tf.cond(flag, lambda: h, lambda: tf.nn.softplus(h)))
        return dense(h, "last", resource=resource)


def around_a_loop(x: Any, flag: Any, resource: bool) -> Any:
    with tf.variable_scope("around"), recompute_scope("around"):
        h = dense(dense(x, "first", resource=resource), "second", resource=resource)
        h = tf.while_loop(lambda i, h: i < 2, lambda i, h: (i + 1, tf.tanh(h) * 1.1), (0, h))[1]
        return dense(dense(h, "third", resource=resource), "last", resource=resource)


AROUND = [around_a_branch, around_layers_in_branches, around_a_loop]


def net(build: Build, resource: bool = True, train: bool = True) -> Graph:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(2)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8, resource=resource)
        flag = tf.placeholder(tf.bool, [], name="flag")
        y = build(x, flag, resource)
        loss = tf.reduce_mean(tf.square(y), name="loss")
        if train:
            optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
            optimizer.minimize(loss, name="train")
        return snapshot(graph)


def trained(graph: Graph, grappler: bool = True) -> list[Any]:
    """Losses over some steps, the branch taken and not, and the variables afterwards."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not grappler
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        operations = live.get_operations()
        session.run([op for op in operations if op.name.endswith("/Assign")])
        found: list[Any] = []
        for flag in (True, False, True, False, True):
            feeds = {"x:0": batch(4), "flag:0": flag}
            found.append(session.run(["loss:0", "train"], feeds)[0])
        ends = ("/Read/ReadVariableOp", "/read")
        reads = [op.outputs[0] for op in operations if op.name.endswith(ends)]
        assert reads
        return [*found, *session.run(reads)]


def assert_trains_to_the_same_bits(before: Graph, after: Graph, grappler: bool = True) -> None:
    for left, right in zip(trained(before, grappler), trained(after, grappler)):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("build", PLACES)
def test_region_in_a_branch_trains_to_the_same_bits(build: Build, resource: bool) -> None:
    graph = net(build, resource)
    outcome, plan = rewrite(graph)
    assert plan.rejections == ()
    marked = [name for name in graph.nodes if name.endswith("/layer0/MatMul")]
    assert len(plan.regions) == len(marked)
    assert all(len(region.clones) >= 6 for region in plan.regions)
    assert_trains_to_the_same_bits(graph, outcome.after)
    again, _ = rewrite(outcome.after)
    assert again.after is outcome.after


@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("build", AROUND)
def test_region_around_control_flow_trains_to_the_same_bits(build: Build, resource: bool) -> None:
    graph = net(build, resource)
    outcome, plan = rewrite(graph)
    assert [region.name for region in plan.regions] == ["around"]
    assert {r.code for r in plan.rejections} <= {Code.NO_BACKWARD_READERS, Code.CROSSES_FRAME}
    assert_trains_to_the_same_bits(graph, outcome.after)


def test_without_grappler_too() -> None:
    for build in (in_other_branches_of_one_predicate, around_layers_in_branches):
        graph = net(build)
        assert_trains_to_the_same_bits(graph, rewrite(graph)[0].after, grappler=False)


def test_what_may_be_dead_is_waited_for_through_a_control_trigger() -> None:
    graph = net(in_other_branches_of_one_predicate, resource=False)
    outcome, plan = rewrite(graph)
    waits = {name for region in plan.regions for name in region.conditional_triggers}
    assert waits
    after = outcome.after.nodes.values()
    gates = [node for node in after if node.name.endswith("/gate")]
    assert gates
    assert all(waits.isdisjoint(gate.control_inputs) for gate in gates)
    triggers = [node for node in after if node.op == "ControlTrigger"]
    assert waits <= {source for node in triggers for source in node.control_inputs}
    for region in plan.regions:
        for guard in region.guards:
            added = set(outcome.after[guard.mutator].control_inputs)
            added -= {*graph[guard.mutator].control_inputs}
            assert {outcome.after[name].op for name in added} == {"ControlTrigger"}


def test_conds_inside_are_computed_again_with_the_predicate_of_the_forward_pass() -> None:
    graph = net(around_layers_in_branches)
    outcome, _ = rewrite(graph)
    copies = [n for n in outcome.after.nodes.values() if "_graphrev_clone_of" in n.attrs]
    assert {"Switch", "Merge"} <= {node.op for node in copies}
    for node in copies:
        if node.op == "Switch":
            origin = node.attrs["_graphrev_clone_of"]
            assert isinstance(origin, bytes)
            assert node.inputs[1] == graph[origin.decode()].inputs[1]


def test_region_with_branches_that_nothing_differentiates_yet_is_left_alone() -> None:
    for build in AROUND:
        graph = net(build, train=False)
        outcome, plan = rewrite(graph)
        assert outcome.after is graph
        assert {r.code for r in plan.rejections} == {Code.CROSSES_FRAME}
