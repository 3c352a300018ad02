"""Loop bodies computed again in the gradient loop: the same bits, only the state saved."""

from __future__ import annotations

from typing import Any

import pytest

from graphrev.marks import recompute_scope
from tests.nets import tf
from tests.passes.recompute.loop_nets import (
    ROWS,
    STEPS,
    WIDTH,
    check,
    loops_of_v1,
    lstm,
    ops_of,
    recurrent,
    saved,
    weight,
)
from tests.passes.recompute.nets import rewrite, trained

FRAMES = "^rnn/"


def test_only_the_state_of_an_lstm_is_saved_and_the_input_that_was_fed_is_read_again() -> None:
    graph = recurrent()
    check(graph, frames=FRAMES)
    assert ops_of(graph)["StackPushV2"] == 8
    assert saved(graph, frames=FRAMES) == ["Switch", "Switch"]


def test_marked_cells_are_recomputed_and_the_frame_need_not_be_named() -> None:
    graph = recurrent(mark=recompute_scope)
    (loop,) = check(graph).loops
    assert len(loop.regions) == 1
    assert saved(graph) == ["Switch", "Switch"]


@pytest.mark.parametrize("rows", [3, None])
@pytest.mark.parametrize("resource", [True, False])
def test_variables_of_both_kinds_and_open_batches_train_the_same(
    rows: int | None, resource: bool
) -> None:
    check(recurrent(lambda x, c, h: lstm(x, c, h, resource), rows=rows), frames=FRAMES)


def test_updates_of_reference_variables_wait_for_every_copy() -> None:
    graph = recurrent(lambda x, c, h: lstm(x, c, h, False))
    outcome, _ = rewrite(graph, frames=FRAMES)
    updates = [n for n in outcome.after.nodes.values() if n.op == "ApplyGradientDescent"]
    read_again = [n for n in updates if n.control_inputs != graph[n.name].control_inputs]
    assert len(updates) == len(read_again) == 2
    added = set(read_again[0].control_inputs) - set(graph[read_again[0].name].control_inputs)
    assert {outcome.after[name].op for name in added} == {"Exit"}


def test_outputs_in_the_loss_keep_their_tensor_arrays() -> None:
    graph = recurrent(loss=lambda ys, c, h: tf.reduce_mean(tf.square(ys)) + tf.reduce_mean(c))
    check(graph, frames=FRAMES)
    outcome, _ = rewrite(graph, frames=FRAMES)
    before, after = ops_of(graph), ops_of(outcome.after)
    for op in ("TensorArrayReadV3", "TensorArrayWriteV3", "TensorArrayGatherV3", "TensorArrayV3"):
        assert before[op] == after[op] > 0


@pytest.mark.parametrize(
    "options",
    [{"swap_memory": True}, {"parallel_iterations": 1}, {"maximum_iterations": 4}],
    ids=str,
)
def test_options_of_the_loop_hold_as_before(options: dict[str, Any]) -> None:
    graph = recurrent(**options)
    check(graph, frames=FRAMES)
    outcome, _ = rewrite(graph, frames=FRAMES)
    pushes = [n for n in outcome.after.nodes.values() if n.op == "StackPushV2"]
    assert {n.attrs["swap_memory"] for n in pushes} == {options.get("swap_memory", False)}
    enters = [n for n in outcome.after.nodes.values() if n.op == "Enter"]
    wanted = options.get("parallel_iterations", 10)
    assert {n.attrs["parallel_iterations"] for n in enters} == {wanted}


def test_the_forward_loop_computes_what_it_computed() -> None:
    graph = recurrent()
    outcome, _ = rewrite(graph, frames=FRAMES)
    body = [n for n in graph.nodes if n.startswith("rnn/")]
    assert {"MatMul", "Tanh", "Sigmoid"} <= {graph[name].op for name in body}
    assert all(outcome.after[name] is graph[name] for name in body)


def test_random_draws_are_saved_and_not_drawn_again() -> None:
    def noisy(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        with tf.control_dependencies([h]):  # Iterations run side by side: they draw in turn.
            noise = tf.random_uniform(tf.shape(x), seed=7)
        return lstm(tf.tanh(x * noise), c, h)

    graph = recurrent(noisy)
    check(graph, frames=FRAMES)
    outcome, _ = rewrite(graph, frames=FRAMES)
    assert ops_of(outcome.after)["RandomUniform"] == ops_of(graph)["RandomUniform"] == 1


def test_what_a_branch_yields_is_saved() -> None:
    def branching(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        x = tf.cond(tf.reduce_mean(x) > 0.0, lambda: tf.tanh(x), lambda: tf.sin(x))
        return lstm(x, c, h)

    graph = recurrent(branching)
    check(graph, frames=FRAMES)
    assert "Merge" in saved(graph, frames=FRAMES)


def test_inner_loops_are_recomputed_in_their_own_gradient_loops() -> None:
    def nested(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        kernel = weight("inner", [WIDTH, WIDTH])

        def deeper(k: Any, y: Any) -> list[Any]:
            return [k + 1, tf.tanh(tf.sin(tf.matmul(tf.sigmoid(y), kernel)))]

        _, x = tf.while_loop(lambda k, _: k < 3, deeper, [0, x], name="deeper")
        return lstm(x, c, h)

    plan = check(recurrent(nested), frames="rnn")
    assert len(plan.loops) == 2


def test_two_losses_have_copies_each() -> None:
    plan = check(recurrent(twice=True), frames=FRAMES)
    assert len(plan.loops) == 2
    assert plan.loops[1].name == f"{plan.loops[0].name}_pass1"


def test_scan_keeps_its_state_and_elements() -> None:
    with loops_of_v1(), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [STEPS, ROWS, WIDTH], name="x")
        tf.placeholder_with_default(STEPS, [], name="n")
        kernel = weight("kernel", [WIDTH, WIDTH])

        def step(h: Any, xt: Any) -> Any:
            return tf.tanh(tf.matmul(tf.sigmoid(h * xt), kernel)) * tf.sin(xt)

        ys = tf.scan(step, x, tf.zeros([ROWS, WIDTH]))
        graph = trained(tf.reduce_mean(tf.square(ys), name="loss"))
    check(graph, counts=(6, 6), frames="^scan/")
    outcome, _ = rewrite(graph, frames="^scan/")
    assert ops_of(outcome.after)["StackPushV2"] < ops_of(graph)["StackPushV2"]
    assert ops_of(outcome.after)["MatMul"] == ops_of(graph)["MatMul"] + 1
