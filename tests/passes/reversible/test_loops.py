"""Blocks inside v1 while loops: gradients as before, nothing stacked that can be rebuilt."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from graphrev.analysis.frames_loops import find_frames
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.passes.reversible import ReversiblePlan
from graphrev.pipeline import Code
from tests.nets import rewrite
from tests.passes.reversible.loop_nets import Net, build, tf, values, weight

COUNTS = (0, 1, 6)


def layer(x: Any, name: str, resource: bool = True) -> Any:
    with tf.variable_scope("weights", reuse=tf.AUTO_REUSE):
        return tf.tanh(tf.matmul(x, weight(name, resource)))


def pair(i: Any, a: Any, b: Any) -> list[Any]:
    a = a + layer(b, "f")
    b = b + layer(a, "g")
    return [i + 1, a, b]


def pushes(graph: Graph) -> int:
    return sum(node.op == "StackPushV2" for node in graph.nodes.values())


def check(
    net: Net, limit: float = 1e-5, counts: tuple[int, ...] = COUNTS, **options: Any
) -> tuple[Graph, Graph, ReversiblePlan]:
    """Rewrites the net; losses and gradients agree for some iterations, steps in between."""
    live, names = build(net)
    serialized = live.as_graph_def().SerializeToString()
    before = decode_graph(serialized)
    run, plan = rewrite(before, **options)
    plain, changed = (
        values(serialized, names, counts),
        values(encode_graph(run.after), names, counts),
    )
    for count, expected, found in zip(counts, plain, changed):
        assert expected[0] == pytest.approx(found[0], rel=limit), "the loss"
        for name, left, right in zip(names, expected, found):
            error = np.linalg.norm(left - right) / (np.linalg.norm(left) + 1e-12)
            assert error <= limit, (count, name, error)
    assert find_frames(run.after).faults == ()
    again, _ = rewrite(run.after, **options)
    assert again.after is run.after
    return before, run.after, plan


def test_loop_of_pairs_keeps_no_stack() -> None:
    before, after, plan = check(Net(pair))
    assert pushes(before) > 0
    assert (
        not {"StackV2", "StackPushV2", "StackPopV2"}
        & Counter(node.op for node in after.nodes.values()).keys()
    )
    assert plan.rejections == ()
    assert all(loop.carried for loop in plan.loops)


def test_forward_loop_is_left_as_it_was() -> None:
    before, after, _ = check(Net(pair))
    computing = [n for n in before.nodes if n.startswith("loop/")]
    assert any(before[name].op == "Tanh" for name in computing)
    assert all(after[name] is before[name] for name in computing)


def two_pairs(i: Any, a: Any, b: Any) -> list[Any]:
    a = a + layer(b, "f")
    b = b - tf.sin(a)
    a = tf.add_n([layer(b, "h") * 0.1, a])
    b = layer(a, "g") - b
    return [i + 1, a, b]


def swapped(i: Any, a: Any, b: Any) -> list[Any]:
    i, a, b = pair(i, a, b)
    return [i, b, a]


@pytest.mark.parametrize("body", [two_pairs, swapped])
def test_other_bodies_keep_no_stack(body: Any) -> None:
    _, after, _ = check(Net(body))
    assert pushes(after) == 0


@pytest.mark.parametrize("options", [{"swap_memory": True}, {"parallel_iterations": 1}])
def test_options_of_the_loop_are_kept(options: dict[str, Any]) -> None:
    _, after, _ = check(Net(pair, options=options))
    assert pushes(after) == 0
    wanted = options.get("parallel_iterations", 10)
    enters = [node for node in after.nodes.values() if node.op == "Enter"]
    assert {node.attrs["parallel_iterations"] for node in enters} == {wanted}


def test_maximum_iterations_still_hold() -> None:
    _, after, _ = check(Net(pair, options={"maximum_iterations": 3}))
    assert pushes(after) == 0


def test_open_batch_and_broadcast_bias_keep_no_stack_of_shapes() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        with tf.variable_scope("weights", reuse=tf.AUTO_REUSE):
            bias = tf.get_variable("bias", [8], use_resource=True)
        a = a + layer(b, "f") * bias
        b = b + layer(a, "g") * tf.reduce_mean(a, 1, keepdims=True)
        return [i + 1, a, b]

    before, after, _ = check(Net(body, rows=None))
    shapes = [n for n, node in before.nodes.items() if node.op == "Shape"]
    assert any(before[r].op == "StackPushV2" for n in shapes for r in before.readers.get(n, ()))
    assert pushes(after) == 0


def test_pruned_exit_is_added_again() -> None:
    live, names = build(Net(pair))
    kept = [name.partition(":")[0] for name in names if "loss" not in name]
    definition = live.as_graph_def()
    for node in definition.node:  # the loss no longer reads b: nothing reads its Exit
        node.input[:] = ["loop/Exit_1" if name == "loop/Exit_2" else name for name in node.input]
    assigns = [op.name for op in live.get_operations() if op.name.endswith("/Assign")]
    pruned = tf.graph_util.extract_sub_graph(definition, [*kept, "train", *assigns, "loss"])
    assert "loop/Exit_2" not in {node.name for node in pruned.node}
    serialized = pruned.SerializeToString()
    run, plan = rewrite(decode_graph(serialized))
    assert all(loop.carried for loop in plan.loops) and plan.loops
    before, after = values(serialized, names, [3]), values(encode_graph(run.after), names, [3])
    for left, right in zip(before[0], after[0]):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_reference_variables_and_shared_weights() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        a = a + layer(b, "w", resource=False)
        b = b + layer(a, "w", resource=False)
        return [i + 1, a, b]

    _, after, _ = check(Net(body, optimizer=lambda: tf.train.MomentumOptimizer(0.01, 0.9)))
    assert pushes(after) == 0


def test_only_what_cannot_be_rebuilt_is_saved() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        a = a + layer(b, "f") * tf.cast(i, tf.float32)
        b = b + tf.nn.dropout(layer(a, "g"), rate=0.3, seed=4)
        return [i + 1, a, b]

    before, after, plan = check(Net(body, options={"parallel_iterations": 1}))
    kept = {before[name].attrs["elem_type"].name for p in plan.loops for name in p.kept}  # pyright: ignore
    assert all(len(p.kept) + len(p.added) == 2 for p in plan.loops)
    assert kept <= {"FLOAT", "BOOL", "INT32"}
    assert pushes(after) < pushes(before)


def test_random_tensors_in_loops_are_saved_even_where_seeds_are_asked_for() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        a = a + tf.nn.dropout(layer(b, "f"), rate=0.3, seed=4)
        b = b + layer(a, "g")
        return [i + 1, a, b]

    _, after, plan = check(Net(body, options={"parallel_iterations": 1}), random="stateless")
    assert plan.loops
    assert not any(node.op.startswith("Stateless") for node in after.nodes.values())


def test_accumulators_beside_the_pair_get_their_gradients() -> None:
    def body(i: Any, a: Any, b: Any, total: Any) -> list[Any]:
        i, a, b = pair(i, a, b)
        return [i, a, b, total + tf.reduce_mean(tf.square(a) * b)]

    _, after, _ = check(Net(body, others=lambda x, n: [tf.constant(0.0)]))
    assert pushes(after) == 0


def test_tensor_arrays_beside_the_pair_work_as_before() -> None:
    def body(i: Any, a: Any, b: Any, array: Any) -> list[Any]:
        i, a, b = pair(i, a, b)
        return [i, a, b, array.write(i - 1, tf.reduce_sum(a * a))]

    net = Net(body, others=lambda x, n: [tf.TensorArray(tf.float32, tf.maximum(n, 1))])
    before, after, plan = check(net)
    assert pushes(after) < pushes(before)
    assert all(loop.carried for loop in plan.loops)


def test_two_pairs_of_variables_in_one_loop() -> None:
    def body(i: Any, a: Any, b: Any, c: Any, d: Any) -> list[Any]:
        i, a, b = pair(i, a, b)
        c = c + layer(d, "h") * a
        d = d + tf.sin(c)
        return [i, a, b, c, d]

    _, after, plan = check(Net(body, others=lambda x, n: [x * 0.5, x - 1.0]))
    assert {loop.carried for loop in plan.loops} == {True}
    assert pushes(after) == 0


def test_loop_inside_a_branch_works_taken_and_not_taken() -> None:
    def around(loop: Any, start: Any, n: Any) -> Any:
        return tf.cond(n > 1, lambda: tuple(loop()), lambda: (tf.constant(0), *start[1:]))

    _, after, _ = check(Net(pair, around=around))
    assert pushes(after) == 0


def test_block_that_is_a_part_of_the_body_saves_its_last_state_once() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        i, a, b = pair(i, tf.tanh(a), b)
        i, a, b = pair(i - 1, a, b)
        return [i, tf.sin(a), b * 0.5]

    before, after, plan = check(Net(body))
    assert not any(loop.carried for loop in plan.loops)
    assert all(len(loop.removed) >= 8 for loop in plan.loops)
    assert pushes(after) < pushes(before) / 2


def test_inner_loop_of_a_nest_keeps_no_stack() -> None:
    def around(loop: Any, start: Any, n: Any) -> Any:
        def outer(j: Any, a: Any, b: Any) -> list[Any]:
            _, a, b = loop([0, tf.sin(a), b * 0.5], "inner")
            return [j + 1, a, b]

        return tf.while_loop(lambda j, *_: j < 3, outer, start, name="outer")

    before, after, plan = check(Net(pair, around=around))
    frames = find_frames(after)
    inner = [n for n, node in after.nodes.items() if node.op == "StackPushV2"]
    assert {frames.loops[frames.frame(name)].parent for name in inner} == {0}
    assert pushes(after) < pushes(before)
    assert all(loop.carried for loop in plan.loops)


def test_loop_that_writes_what_it_reads_keeps_the_values_it_read() -> None:
    def body(i: Any, a: Any, b: Any) -> list[Any]:
        with tf.variable_scope("weights", reuse=tf.AUTO_REUSE):
            w = weight("f")
        with tf.control_dependencies(
            [b]
        ):  # or the read overtakes the write of the iteration before
            read = tf.identity(w)
        a = a + tf.tanh(tf.matmul(b, read))
        with tf.control_dependencies([a]):
            moved = tf.assign(w, w * 0.9)
        with tf.control_dependencies([moved]):
            b = b + layer(a, "g")
        return [i + 1, a, b]

    _, after, plan = check(Net(body))
    assert pushes(after) > 0
    assert all(loop.carried for loop in plan.loops)


def test_loop_nobody_differentiates_is_left_to_whoever_does() -> None:
    with tf.Graph().as_default() as alone:
        tf.disable_control_flow_v2()
        x = tf.placeholder(tf.float32, [4, 8])
        tf.while_loop(lambda i, *_: i < 3, pair, [0, x, x])
        tf.enable_control_flow_v2()
    graph = decode_graph(alone.as_graph_def().SerializeToString())
    _, plan = rewrite(graph)
    assert [bool(block.deferred) for block in plan.blocks] == [True]
    run, plan = rewrite(graph, forward="reject")
    assert run.after is run.before
    assert Code.CROSSES_FRAME in {r.code for r in plan.rejections}


@pytest.mark.parametrize("every", [1, 2, 4])
def test_anchored_loop_saves_its_state_now_and_then(every: int) -> None:
    _, after, plan = check(Net(pair), limit=1e-6, anchor_every=every)
    assert [loop.anchor_every for loop in plan.loops] == [every, every]
    assert pushes(after) == 2 * len(plan.loops)


def test_anchors_follow_from_the_drift_allowed() -> None:
    _, _, plan = check(Net(pair), limit=1e-6, max_drift=1e-6)
    assert {loop.anchor_every for loop in plan.loops} == {2}
