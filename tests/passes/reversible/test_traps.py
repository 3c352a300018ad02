"""The correctness traps that broke every peer, one test each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.passes.reversible import HalfPlan
from graphrev.verification.races import races
from tests.nets import Branch, assert_same_training, batch, dense, one_step, rewrite, tf, training


def peak_bytes(graph: Graph, *, grappler: bool = True, threads: int = 1) -> int:
    """Peak of one training step by the allocation records of a full trace."""
    config = tf.ConfigProto(inter_op_parallelism_threads=threads)
    config.graph_options.rewrite_options.disable_meta_optimizer = not grappler
    config.graph_options.rewrite_options.min_graph_nodes = -1
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        feeds = {"x:0": batch(4096)}
        session.run("train", feeds)
        session.run("train", feeds, options=options, run_metadata=metadata)
    records = [
        (record.alloc_micros, record.alloc_bytes)
        for device in metadata.step_stats.dev_stats
        for stats in device.node_stats
        for memory in stats.memory
        for record in memory.allocation_records
    ]
    live_bytes = np.cumsum([size for _, size in sorted(records, key=lambda r: r[0])])
    return int(live_bytes.max())


def planned(graph: Graph) -> list[HalfPlan]:
    _, plan = rewrite(graph)
    return [half for block in plan.blocks for half in block.halves]


@pytest.mark.parametrize("grappler", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_stays_flat_with_grappler_and_threads(grappler: bool, threads: int) -> None:
    """Recomputation that starts too early, or clones merged with originals, save nothing."""
    graph = training(pairs=24, shape=(4096, 8))
    plain = peak_bytes(graph, grappler=grappler, threads=threads)
    flat = peak_bytes(rewrite(graph)[0].after, grappler=grappler, threads=threads)
    assert flat < plain / 3


def test_gate_waits_for_every_backward_reader_of_the_half_above() -> None:
    graph = training(pairs=3)
    outcome, _ = rewrite(graph)
    halves = planned(graph)
    for below, above in pairwise(halves):
        readers = {name for r in above.redirects for name in r.readers}
        assert readers <= set(below.triggers)
    gates = [n for n in outcome.after.nodes.values() if n.name.endswith("/gate")]
    assert {frozenset(gate.control_inputs) for gate in gates} == {
        frozenset(half.triggers) for half in halves if not half.is_idle
    }


def test_no_trigger_is_an_op_that_only_reads_a_shape() -> None:
    graph = training(pairs=3)
    for half in planned(graph):
        assert not {graph[name].op for name in half.triggers} & {"Shape", "ShapeN", "Size"}


def test_random_ops_do_not_draw_again() -> None:
    def drops(x: Any, name: str) -> Any:
        return dense(tf.nn.dropout(x, rate=0.5), name)

    graph = training(f=drops, g=drops, pairs=3)
    after = rewrite(graph)[0].after
    assert sum(n.op == "RandomUniform" for n in graph.nodes.values()) == 6
    assert sum(n.op == "RandomUniform" for n in after.nodes.values()) == 6
    assert_same_training(graph, after)


def test_batch_norm_updates_run_once() -> None:
    def normed(x: Any, name: str) -> Any:
        with tf.variable_scope(name):
            moving = tf.get_variable("moving", [8], trainable=False, use_resource=True)
            mean = tf.reduce_mean(x, 0)
            tf.add_to_collection("updates", tf.assign_sub(moving, 0.1 * (moving - mean)))
        return dense(x - mean, name)

    graph = training(f=normed, g=normed, pairs=3)
    after = rewrite(graph)[0].after
    updates = [n.name for n in graph.nodes.values() if n.op == "AssignSubVariableOp"]
    assert len(updates) == 6
    assert [n.name for n in after.nodes.values() if n.op == "AssignSubVariableOp"] == updates
    assert_same_training(graph, after)


@pytest.mark.parametrize("resource", [True, False])
def test_variable_is_read_as_it_was_before_its_update(resource: bool) -> None:
    """The optimizer may have moved a variable by the time a copy reads it."""

    def layer(x: Any, name: str) -> Any:
        return dense(x, name, resource=resource)

    graph = training(f=layer, g=layer, pairs=4)
    after = rewrite(graph)[0].after
    for seed in range(3):
        assert_same_training(graph, after, seed=seed)


def test_in_place_update_waits_for_the_copies_that_read_the_old_value() -> None:
    def layer(x: Any, name: str) -> Any:
        return dense(x, name, resource=False)

    graph = training(f=layer, g=layer, pairs=3)
    outcome, plan = rewrite(graph)
    guards = [guard for block in plan.blocks for guard in block.guards]
    assert guards
    for guard in guards:
        added = set(outcome.after[guard.mutator].control_inputs) - set(
            graph[guard.mutator].control_inputs
        )
        assert added


def through_a_view(view: Callable[[Any], Any], shape: Sequence[int]) -> Branch:
    """A layer that reads its kernel, a reference, through what does not copy it.

    Its last op is the product: the kernel's gradient needs no copy of that.
    """

    def layer(x: Any, name: str) -> Any:
        seed = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
        with tf.variable_scope(name):
            kernel = tf.get_variable("w", shape, initializer=seed, use_resource=False)
            return tf.matmul(tf.tanh(x), tf.reshape(view(kernel), [8, 8]))

    return layer


@pytest.mark.parametrize(
    ("view", "shape"),
    [
        (lambda w: tf.transpose(w, [0, 1]), [8, 8]),  # as TensorFlow 1's Dense does it in 3-D
        (lambda w: tf.unstack(w)[1], [2, 8, 8]),
        (lambda w: tf.split(w, 2)[1], [16, 8]),
        (lambda w: w[8:], [16, 8]),
        (lambda w: tf.identity_n([tf.ones([]), w])[1], [8, 8]),
    ],
)
def test_in_place_update_waits_for_copies_that_read_a_view_of_the_variable(
    view: Callable[[Any], Any], shape: Sequence[int]
) -> None:
    layer = through_a_view(view, shape)
    graph = training(f=layer, g=layer, pairs=3)
    assert not races(graph, ["train", "loss"])
    outcome, plan = rewrite(graph)
    assert not races(outcome.after, ["train", "loss"])
    held = {g.mutator for block in plan.blocks for g in block.guards}
    assert len(held) == 5  # The first layer reads the block's input, which is not rebuilt.
    assert_same_training(graph, outcome.after)


def test_gradients_of_a_shared_variable_are_summed_as_before() -> None:
    def shared(x: Any, name: str) -> Any:
        with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
            w = tf.get_variable("/shared", [8, 8], use_resource=True)
        return tf.tanh(tf.matmul(x, w))

    with tf.variable_scope(""):
        graph = training(f=shared, g=shared, pairs=3)
    assert_same_training(graph, rewrite(graph)[0].after)


def test_every_original_name_can_still_be_fetched_and_gives_the_same() -> None:
    graph = training(pairs=3)
    after = rewrite(graph)[0].after
    assert set(graph.nodes) <= set(after.nodes)
    inner = ["pair0/f/Tanh:0", "pair1/y1:0", "pair2/y2:0", "loss:0"]
    feeds = {"x:0": batch()}
    for old, new in zip(one_step(graph, feeds, inner), one_step(after, feeds, inner)):
        np.testing.assert_array_equal(old, new)


def test_control_inputs_of_copied_nodes_are_kept() -> None:
    def watched(x: Any, name: str) -> Any:
        with tf.control_dependencies([tf.no_op(name=f"{name}_first")]):
            return dense(x, name)

    graph = training(f=watched, pairs=2)
    after = rewrite(graph)[0].after
    for node in after.nodes.values():
        origin = node.attrs.get("_graphrev_clone_of")
        if isinstance(origin, bytes):
            assert set(graph[origin.decode()].control_inputs) <= set(node.control_inputs)
    assert_same_training(graph, after)


def test_untouched_nodes_are_the_very_same_objects() -> None:
    graph = training(pairs=3)
    outcome, _ = rewrite(graph)
    rewired = {edit.node for edit in outcome.edits if hasattr(edit, "position")}
    rewired |= {edit.node for edit in outcome.edits if type(edit).__name__ == "SetControls"}
    for name, node in graph.nodes.items():
        assert (outcome.after[name] is node) == (name not in rewired)


def test_clones_sit_in_the_scope_of_the_gradient_on_the_device_of_the_original() -> None:
    graph = training(pairs=2)
    nodes = {
        n: v.evolve(device="/job:worker/task:1") if n.startswith("pair") else v
        for n, v in graph.nodes.items()
    }
    outcome, _ = rewrite(Graph(nodes, versions=graph.versions))
    added = [outcome.after[n] for n in outcome.after.nodes if n not in graph.nodes]
    copies = [n for n in added if "_graphrev_clone_of" in n.attrs]
    assert copies
    assert all(n.name.startswith("gradients/block_0/recompute/") for n in added)
    assert all(n.device == "/job:worker/task:1" for n in copies)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_other_float_types_train_the_same(dtype: Any) -> None:
    graph = training(pairs=2, dtype=dtype)
    assert_same_training(graph, rewrite(graph)[0].after)


def test_open_batch_size_is_no_obstacle() -> None:
    graph = training(pairs=3, shape=(None, 8))
    outcome, plan = rewrite(graph)
    assert sum(len(block.halves) for block in plan.blocks) == 6
    assert_same_training(graph, outcome.after)


def test_loss_that_reads_the_streams_keeps_the_forward_values() -> None:
    """A boundary value is read by the loss too: taking the loss for backward makes a cycle."""
    graph = training(pairs=2, after=lambda a, b: tf.square(a) + tf.nn.relu(b) * a)
    assert_same_training(graph, rewrite(graph)[0].after)


def test_skip_from_an_early_stream_to_the_loss_is_left_alone() -> None:
    kept: list[Any] = []

    def keeps(x: Any, name: str) -> Any:
        kept.append(x)
        return dense(x, name)

    graph = training(f=keeps, pairs=3, after=lambda a, b: tf.square(a + b) * tf.tanh(kept[-3]))
    outcome, plan = rewrite(graph)
    assert plan.blocks
    assert_same_training(graph, outcome.after)


def test_linear_loss_whose_gradient_is_constant_is_no_obstacle() -> None:
    graph = training(pairs=3, after=lambda a, b: a + 2.0 * b)
    outcome, plan = rewrite(graph)
    assert plan.blocks
    assert_same_training(graph, outcome.after)
