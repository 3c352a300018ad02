"""Graphs that are differentiated more than once: each backward pass runs by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.marks import recompute_scope
from graphrev.pipeline import Code
from tests.nets import dense, snapshot, tf
from tests.passes.recompute.nets import residual, rewrite
from tests.passes.recompute.two_losses import (
    BOTH,
    FEEDS,
    FIRST,
    SECOND,
    TURNS,
    assert_trains_the_same,
    minimized,
    names,
    plain,
    stem,
    two_optimizers,
)


@pytest.mark.parametrize("steps", TURNS)
def test_each_optimizer_runs_without_the_labels_of_the_other(steps: Any) -> None:
    graph = two_optimizers()
    outcome, plan = rewrite(graph)
    assert not plan.rejections
    assert names(plan) == BOTH
    assert_trains_the_same(graph, outcome.after, steps)


def test_no_copy_waits_for_the_other_pass() -> None:
    """Where neither loss needs a feed of its own, only the structure tells them apart."""
    with tf.Graph().as_default() as graph:
        x = stem()
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = residual(residual(x, "a"), "b")
        variables = tf.trainable_variables()
        for scope, loss in (
            ("one", tf.reduce_mean(tf.square(x))),
            ("two", tf.reduce_sum(tf.abs(x))),
        ):
            tf.gradients(loss, variables, name=scope)
        plan = rewrite(snapshot(graph))[1]
    assert names(plan) == BOTH
    for region in plan.regions:
        readers = {name for redirect in region.redirects for name in redirect.readers}
        assert region.triggers
        assert len({name.split("/")[0] for name in (*readers, *region.triggers)}) == 1


def test_bytes_freed_are_counted_once() -> None:
    plan = rewrite(two_optimizers())[1]
    read = {redirect.tensor for region in plan.regions for redirect in region.redirects}
    assert sum(region.freed_bytes or 0 for region in plan.regions) == len(read) * 4 * 8 * 4


def test_a_reference_variable_another_optimizer_updates_is_a_reason_not_to() -> None:
    graph = two_optimizers(plain, resource=False)
    outcome, plan = rewrite(graph)
    assert outcome.after is graph
    assert {rejection.code for rejection in plan.rejections} == {Code.VARIABLE_CHANGES}


@pytest.mark.parametrize("steps", TURNS)
def test_an_optimizer_that_updates_other_variables_is_none(steps: Any) -> None:
    graph = two_optimizers(plain, own=True, resource=False)
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    assert all(region.guards for region in plan.regions)
    assert_trains_the_same(graph, outcome.after, steps)


def test_all_passes_repeat_the_numbers_the_forward_pass_drew() -> None:
    graph = two_optimizers(lambda x, name: residual(tf.nn.dropout(x, rate=0.5), name))
    after = rewrite(graph, random="stateless")[0].after
    drawn = [n for n, node in after.nodes.items() if node.op == "StatelessRandomUniform"]
    originals = [name for name in drawn if CLONE_ATTR not in after[name].attrs]
    assert len(originals) == 6 and len(drawn) == 18
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(after)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        values = session.run({name: f"{name}:0" for name in drawn}, FEEDS)
        session.run("train1", {name: FEEDS[name] for name in FIRST[1]})
    for original in originals:
        source = original.removesuffix("/stateless").encode()
        copies = [name for name in drawn if after[name].attrs.get(CLONE_ATTR) == source]
        assert len(copies) == 2
        for name in copies:
            np.testing.assert_array_equal(values[name], values[original])


@pytest.mark.parametrize("together", [True, False])
def test_losses_that_are_differentiated_together_are_one_pass(together: bool) -> None:
    """An auxiliary head half-way belongs to the pass it is summed into."""
    with tf.Graph().as_default() as graph:
        x = stem()
        losses: list[Any] = []
        for number in range(3):
            with tf.variable_scope(f"region{number}"):
                with recompute_scope("part"):
                    x = residual(residual(x, "a"), "b")
                losses.append(tf.reduce_mean(tf.square(dense(x, "aux"))))
        variables = tf.trainable_variables()
        for loss in [tf.add_n(losses)] if together else [losses[2], tf.reduce_mean(x)]:
            tf.gradients(loss, variables)
        plan = rewrite(snapshot(graph))[1]
    assert not plan.rejections
    assert names(plan) == ({"part", "part_1", "part_2"} if together else BOTH)


@pytest.mark.parametrize("loss", [tf.reduce_sum, tf.nn.l2_loss])
def test_gradient_ops_that_read_no_gradient_begin_no_pass(loss: Any) -> None:
    """Comparisons in the gradient of a maximum; everything where the gradient is constant."""

    def layer(x: Any, name: str) -> Any:
        return tf.log(tf.maximum(residual(x, name), 0.1) + 2)

    with tf.Graph().as_default() as graph:
        x = stem()
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = layer(layer(x, "a"), "b")
        tf.gradients(loss(x), tf.trainable_variables())
        plan = rewrite(snapshot(graph))[1]
    assert not plan.rejections
    assert names(plan) == {"part", "part_1", "part_2"}


@pytest.mark.parametrize("steps", TURNS)
def test_scopes_within_scopes_are_split_by_pass_too(steps: Any) -> None:
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x = stem()
        with recompute_scope("outer"):
            x = residual(x, "before")
            with recompute_scope("inner"):
                x = residual(residual(x, "within"), "further")
            x = residual(x, "behind")
        head = dense(x, "head")
        minimized(x, 1)
        minimized(head, 2)
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    expected = {"outer", "inner", "outer.1"}
    assert names(plan) == expected | {f"{name}_pass1" for name in expected}
    assert_trains_the_same(graph, outcome.after, steps)


@pytest.mark.parametrize("steps", TURNS)
def test_a_loss_from_half_way_takes_only_the_regions_below_it(steps: Any) -> None:
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x, half = stem(), None
        for number in range(4):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = residual(residual(x, "a"), "b")
            half = x if number == 1 else half
        minimized(x, 1)
        minimized(half, 2)
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    assert names(plan) == {"part", "part_pass1", "part_1", "part_1_pass1", "part_2", "part_3"}
    assert_trains_the_same(graph, outcome.after, steps)


@pytest.mark.parametrize("steps", [(FIRST,), (SECOND,), (FIRST, SECOND)])
def test_a_second_step_that_runs_the_first_one_reads_what_it_did(steps: Any) -> None:
    """Its gradients wait for the first update, and are those of the forward pass."""
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x = stem()
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = residual(residual(x, "a"), "b")
        minimized(x, 1)
        with tf.control_dependencies([live.get_operation_by_name("train1")]):
            minimized(tf.tanh(x), 2)
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    assert names(plan) == BOTH
    fed = tuple((op, ("x:0", "t1:0", "t2:0") if op == "train2" else f) for op, f in steps)
    assert_trains_the_same(graph, outcome.after, fed)


@pytest.mark.parametrize("steps", TURNS)
def test_a_late_skip_of_one_loss_stays_with_the_forward_value(steps: Any) -> None:
    """The other loss does not depend on it, so not all gradients come after it."""
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x = stem()
        with recompute_scope("encoder"):
            skip = dense(residual(x, "first"), "skip")
            x = dense(residual(skip, "second"), "third")
        with recompute_scope("middle"):
            y = residual(residual(x, "middle"), "end")
        y = residual(tf.concat([y, skip], 1), "decoder")[:, :8]
        minimized(y, 1)
        minimized(x, 2)
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    assert {ref.node for ref in outcome.after["concat"].inputs} == {
        ref.node for ref in graph["concat"].inputs
    }
    assert "middle" in names(plan)
    assert_trains_the_same(graph, outcome.after, steps)


@pytest.mark.parametrize("steps", TURNS)
def test_parts_of_a_region_that_share_no_reader_get_copies_each(steps: Any) -> None:
    """Two outputs, two heads: what both are computed from is computed again for either."""
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x = stem()
        with recompute_scope("trunk"):
            x = dense(x, "shared")
            left, right = residual(x, "left"), residual(x, "right")
        minimized(dense(left, "one"), 1)
        minimized(dense(right, "two"), 2)
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    assert names(plan) == {"trunk", "trunk_pass1"}
    for region, other in zip(plan.regions, ("right/", "left/")):
        assert not any(name.startswith(other) for name in region.clones)
    assert_trains_the_same(graph, outcome.after, steps)


@pytest.mark.parametrize("steps", [(("train1", ("x:0",)),), (SECOND,)])
@pytest.mark.parametrize("alone", [True, False])
def test_a_gradient_penalty_leaves_the_inner_gradient_by_itself(steps: Any, alone: bool) -> None:
    with tf.Graph().as_default() as live:
        tf.set_random_seed(5)
        x = z = stem()
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = residual(residual(x, "a"), "b")
        critic = tf.reduce_mean(tf.square(x))
        (slope,) = tf.gradients(critic, [z], name="inner")
        labels = tf.placeholder(tf.float32, (4, 8), "t2")
        penalty = tf.reduce_mean(tf.square(slope - labels))
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        optimizer.minimize(penalty if alone else penalty + critic, name="train2")
        weight = next(v for v in tf.trainable_variables() if v.name == "stem/w:0")
        change = tf.matmul(slope, slope, transpose_a=True)
        optimizer.apply_gradients([(change, weight)], name="train1")
        graph = snapshot(live)
    outcome, plan = rewrite(graph)
    assert names(plan) == {"part", "part_1", "part_2"}
    assert_trains_the_same(graph, outcome.after, steps)
