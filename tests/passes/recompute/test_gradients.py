"""A recomputed region trains to the very same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphrev.analysis import ops
from graphrev.ir import Graph
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.marks import recompute_scope
from graphrev.passes.recompute import RegionPlan
from tests.nets import batch, dense, one_step, tf
from tests.passes.recompute.nets import (
    assert_same_bits,
    chain,
    outcome_of,
    residual,
    rewrite,
    trained,
)


def copies(graph: Graph, op: str) -> list[str]:
    """Nodes of type ``op`` that were copied."""
    found = (node for node in graph.nodes.values() if node.op == op)
    return [node.name for node in found if CLONE_ATTR in node.attrs]


def regions_by_name(graph: Graph) -> dict[str, RegionPlan]:
    return {region.name: region for region in rewrite(graph)[1].regions}


@pytest.mark.parametrize("shape", [(4, 8), (None, 8)])
def test_gradients_and_training_are_bitwise_equal(shape: Any) -> None:
    graph = chain(shape=shape)
    outcome, plan = rewrite(graph)
    assert [region.name for region in plan.regions] == ["part", "part_1", "part_2"]
    assert not plan.rejections
    assert_same_bits(graph, outcome.after)


def test_no_gradient_reads_a_value_of_the_forward_pass_but_what_enters_a_region() -> None:
    graph = chain(regions=4)
    outcome, plan = rewrite(graph)
    kept = {str(gate.tensor) for region in plan.regions for gate in region.gates}
    recomputed = {name for region in plan.regions for name in region.clones}
    for name in graph.nodes:
        node = outcome.after[name]
        if ops.is_gradient_op(node.op):
            held = [ref for ref in node.inputs if ref.node in recomputed]
            assert {str(ref) for ref in held} <= kept


def test_a_second_run_changes_nothing() -> None:
    once, _ = rewrite(chain())
    again, plan = rewrite(once.after)
    assert again.after is once.after
    assert {rejection.code.value for rejection in plan.rejections} == {"already_rewritten"}


def test_a_graph_without_marks_is_left_as_it_is() -> None:
    with tf.Graph().as_default():
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        graph = trained(tf.reduce_mean(tf.square(residual(x, "a")), name="loss"))
    outcome, plan = rewrite(graph)
    assert outcome.after is graph
    assert plan.is_empty and not plan.rejections


def test_updates_run_once() -> None:
    def normed(x: Any, name: str) -> Any:
        with tf.variable_scope(name):
            moving = tf.get_variable("moving", [8], trainable=False, use_resource=True)
            mean = tf.reduce_mean(x, 0)
            update = tf.assign_sub(moving, 0.1 * (moving - mean))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return dense(tf.square(x - mean), name)

    graph = chain(normed)
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    updates = [n.name for n in graph.nodes.values() if n.op == "AssignSubVariableOp"]
    assert [n.name for n in outcome.after.nodes.values() if n.op == "AssignSubVariableOp"] == (
        updates
    )
    assert_same_bits(graph, outcome.after)


@pytest.mark.parametrize("random", ["save", "stateless"])
def test_dropout_is_exact(random: str) -> None:
    """Saved masks give the bits of the plain graph; stateless ones the same twice in a step."""

    def drops(x: Any, name: str) -> Any:
        return residual(tf.nn.dropout(x, rate=0.5), name)

    graph = chain(drops)
    outcome, plan = rewrite(graph, random=random)
    assert len(plan.regions) == 3
    if random == "save":
        assert not copies(outcome.after, "RandomUniform")
        assert_same_bits(graph, outcome.after)
        return
    drawn = copies(outcome.after, "StatelessRandomUniform")
    assert len(drawn) == 6
    replaced = [name for name, n in outcome.after.nodes.items() if n.op == "RandomUniform"]
    assert not any(outcome.after.readers.get(name) for name in replaced)
    for name in drawn:
        origin = outcome.after[name].attrs[CLONE_ATTR]
        assert isinstance(origin, bytes)
        fetch = [f"{name}:0", f"{origin.decode()}/stateless:0"]
        again, first = one_step(outcome.after, {"x:0": batch()}, fetch)
        np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize("resource", [True, False])
def test_a_shared_variable_gets_the_same_gradient(resource: bool) -> None:
    def shared(x: Any, name: str) -> Any:
        with tf.variable_scope("/", reuse=tf.AUTO_REUSE):
            return x + dense(tf.nn.relu(x), "shared", resource=resource)

    with tf.variable_scope(""):
        graph = chain(shared)
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    assert_same_bits(graph, outcome.after)


def test_an_in_place_update_waits_for_the_copies_that_read_the_old_value() -> None:
    graph = chain(lambda x, name: x + dense(tf.nn.relu(x), name, resource=False))
    outcome, plan = rewrite(graph)
    guards = [guard for region in plan.regions for guard in region.guards]
    assert guards
    for guard in guards:
        before, after = graph[guard.mutator], outcome.after[guard.mutator]
        assert set(after.control_inputs) > set(before.control_inputs)
    assert_same_bits(graph, outcome.after)


def test_a_region_of_several_inputs_and_outputs_takes_each_from_its_own_port() -> None:
    """Peers take output 0 of a node for the node."""
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 12)
        a, b, c = tf.split(x, 3, axis=1)
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope():
                d, e = tf.split(dense(dense(tf.concat([b, c], 1), "f"), "g"), 2, axis=1)
                a, b, c = a + d * e, dense(d + a, "h"), dense(e * b, "i")
        graph = trained(tf.reduce_mean(tf.square(a + b * c), name="loss"))
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    entering = {str(gate.tensor) for gate in plan.regions[0].gates}
    assert entering == {"split:0", "split:1", "split:2"}
    assert_same_bits(graph, outcome.after)


def test_an_op_belongs_to_the_innermost_scope_and_the_rest_splits_around_it() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with recompute_scope("outer"):
            x = residual(x, "before")
            with recompute_scope("inner"):
                x = residual(x, "within")
            x = residual(x, "behind")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, plan = rewrite(graph)
    assert {
        region.name: {name.split("/")[0] for name in region.clones} for region in plan.regions
    } == {"outer": {"before"}, "inner": {"within"}, "outer.1": {"behind"}}
    assert not plan.rejections
    assert_same_bits(graph, outcome.after)


def test_a_skip_past_an_inner_scope_makes_no_cycle() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with recompute_scope("outer"):
            skip = residual(x, "before")
            with recompute_scope("inner"):
                x = residual(skip, "within")
            x = residual(x * skip, "behind")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    assert_same_bits(graph, outcome.after)


def test_a_late_skip_out_of_a_region_keeps_the_forward_value() -> None:
    """A U-Net's decoder reads what the encoder computed, after everything else has."""
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with recompute_scope("encoder"):
            skip = dense(residual(x, "first"), "skip")
            x = dense(residual(skip, "second"), "third")
        with recompute_scope("middle"):
            x = residual(x, "middle")
        x = residual(tf.concat([x, skip], 1), "decoder")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, plan = rewrite(graph)
    assert [region.name for region in plan.regions] == ["encoder", "middle"]
    assert {ref.node for ref in outcome.after["concat"].inputs} == {
        ref.node for ref in graph["concat"].inputs
    }
    assert_same_bits(graph, outcome.after)


def test_parallel_regions_do_not_wait_for_each_other() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        towers: list[Any] = []
        for name in ("left", "right"):
            with recompute_scope(name):
                towers.append(residual(residual(x, f"{name}_a"), f"{name}_b"))
        graph = trained(tf.reduce_mean(tf.square(towers[0] * towers[1]), name="loss"))
    outcome, plan = rewrite(graph)
    left, right = plan.regions
    for one, other in ((left, right), (right, left)):
        readers = {name for redirect in other.redirects for name in redirect.readers}
        assert readers.isdisjoint(one.triggers)
    assert_same_bits(graph, outcome.after)


def test_no_step_needs_a_feed_that_it_did_not_need() -> None:
    """Two losses over one trunk; the second has labels of its own."""
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        labels = tf.placeholder(tf.float32, (4, 8), name="labels")
        with recompute_scope("trunk"):
            x = residual(residual(x, "a"), "b")
        with recompute_scope("head"):
            head = residual(residual(x, "c"), "d")
        other = tf.reduce_mean(tf.square(head - labels))
        tf.train.GradientDescentOptimizer(0.1).minimize(other, name="other")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, _ = rewrite(graph)
    assert_same_bits(graph, outcome.after)


def test_linear_layers_whose_gradients_are_ordinary_ops_are_recomputed() -> None:
    def linear(x: Any, name: str) -> Any:
        with tf.variable_scope(name):
            w = tf.get_variable("w", [8, 8], use_resource=True)
            return tf.matmul(tf.matmul(x, w), w)

    graph = chain(linear)
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    assert_same_bits(graph, outcome.after)


def test_a_constant_input_is_an_activation_where_nothing_else_enters() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        tf.placeholder_with_default(batch(), (4, 8), name="x")
        with recompute_scope("part"):
            x = residual(residual(tf.identity(tf.constant(batch())), "a"), "b")
        with recompute_scope("next"):
            x = residual(x, "c")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, plan = rewrite(graph)
    assert "next" in {region.name for region in plan.regions}
    assert_same_bits(graph, outcome.after)


def test_every_original_name_can_still_be_fetched_and_gives_the_same() -> None:
    graph = chain()
    after = rewrite(graph)[0].after
    assert set(graph.nodes) <= set(after.nodes)
    inner = ["region0/layer0/inner/Tanh:0", "region2/layer1/add:0", "loss:0"]
    for old, new in zip(outcome_of(graph, inner), outcome_of(after, inner)):
        np.testing.assert_array_equal(old, new)


def test_copies_carry_no_mark_and_sit_in_the_scope_of_the_gradients() -> None:
    graph = chain()
    after = rewrite(graph)[0].after
    added = [node for name, node in after.nodes.items() if name not in graph]
    assert added
    for node in added:
        assert "_graphrev_recompute" not in node.attrs
        assert "/recompute/" in node.name and node.name.startswith("gradients")


def test_control_edges_hang_on_the_gates_alone() -> None:
    graph = chain()
    after = rewrite(graph)[0].after
    for name, node in after.nodes.items():
        origin = node.attrs.get(CLONE_ATTR)
        if isinstance(origin, bytes):
            assert node.control_inputs == graph[origin.decode()].control_inputs
        elif name not in graph:
            assert node.op == "Identity" and node.control_inputs


def test_recomputation_waits_for_every_backward_reader_of_the_next_region() -> None:
    _, plan = rewrite(chain())
    for below, above in zip(plan.regions, plan.regions[1:]):
        readers = {name for redirect in above.redirects for name in redirect.readers}
        assert readers <= set(below.triggers)
