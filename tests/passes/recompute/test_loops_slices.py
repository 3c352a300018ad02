"""Values of a loop that are not saved, because they are slices of what is in memory anyway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
STATE = ["Switch", "Switch"]


def on_outputs(ys: Any, c: Any, h: Any) -> Any:
    return tf.reduce_mean(tf.square(ys)) + 0.0 * tf.reduce_sum(c + h)


def all_of(array: Any, n: Any) -> Any:
    return array.stack()


def test_outputs_that_the_loss_reads_are_the_state_of_the_next_iteration() -> None:
    graph = recurrent(loss=on_outputs, stack=all_of)
    (loop,) = check(graph, frames=FRAMES).loops
    assert saved(graph, frames=FRAMES) == ["Switch"]
    read = {graph[ref.node].op: graph[of.node].op for ref, of in loop.read_again.items()}
    assert read == {"TensorArrayReadV3": "Placeholder", "Identity": "TensorArrayGatherV3"}


@pytest.mark.parametrize("rows", [ROWS, None])
def test_slices_are_found_behind_transpositions(rows: int | None) -> None:
    graph = recurrent(loss=on_outputs, stack=all_of, batch_first=True, rows=rows)
    (loop,) = check(graph, counts=(6, 6), frames=FRAMES).loops
    assert saved(graph, frames=FRAMES) == ["Switch"]
    assert {graph[of.node].op for of in loop.read_again.values()} == {"Placeholder", "Transpose"}


def test_state_that_was_saved_already_is_no_longer_saved() -> None:
    def gated(x: Any, c: Any, h: Any) -> tuple[Any, Any]:
        c, deeper = lstm(x, c, h)
        return c, h * tf.sigmoid(x) + deeper

    graph = recurrent(gated, loss=on_outputs, stack=all_of)
    check(graph, frames=FRAMES)
    assert saved(graph, frames=FRAMES) == ["Switch"]


def test_arrays_and_their_gradients_stay_as_they_are() -> None:
    graph = recurrent(loss=on_outputs, stack=all_of)
    outcome, _ = rewrite(graph, frames=FRAMES)
    before, after = ops_of(graph), ops_of(outcome.after)
    arrays = {op for op in before if op.startswith("TensorArray")}
    assert {"TensorArrayReadV3", "TensorArrayGradV3", "TensorArrayGatherV3"} <= arrays
    assert {op: before[op] for op in arrays} == {op: after[op] for op in arrays}


def test_the_outputs_of_a_scan_are_its_state() -> None:
    with loops_of_v1(), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [STEPS, ROWS, WIDTH], name="x")
        tf.placeholder_with_default(STEPS, [], name="n")
        kernel = weight("kernel", [WIDTH, WIDTH])

        def step(h: Any, xt: Any) -> Any:
            return tf.tanh(tf.matmul(tf.sigmoid(h * xt), kernel)) * tf.sin(xt)

        ys = tf.scan(step, x, tf.zeros([ROWS, WIDTH]))
        graph = trained(tf.reduce_mean(tf.square(ys), name="loss"))
    check(graph, counts=(6, 6), frames="^scan/")
    assert saved(graph, frames="^scan/") == []


def written_off(array: Any, t: Any, h: Any) -> Any:
    return array.write(t, tf.where(tf.fill([ROWS], t < 4), h, tf.zeros_like(h)))


@pytest.mark.parametrize(
    "options",
    [
        {"write": lambda array, t, h: array.write(t, h * 1.0)},
        {"write": written_off},
        {"write": lambda array, t, h: array.write(STEPS - 1 - t, h), "counts": (6,)},
        {"stack": lambda array, n: array.gather(tf.range(n))},
        {"stack": lambda array, n: array.gather(tf.range(1, STEPS)), "counts": (6,)},
        {"stack": lambda array, n: array.gather(tf.range(0, STEPS, 2)), "counts": (6,)},
        {"loss": None},
    ],
    ids=[
        "another value",
        "zeros past the end",
        "backwards",
        "as many as somebody says",
        "not from the start",
        "every other one",
        "no loss on the outputs",
    ],
)
def test_state_is_saved_where_nothing_proves_it_to_be_the_outputs(options: dict[str, Any]) -> None:
    counts = options.pop("counts", (6, 1))
    graph = recurrent(**{"loss": on_outputs, "stack": all_of, **options})
    check(graph, counts, frames=FRAMES)
    assert saved(graph, frames=FRAMES) == STATE


def backwards(array: Any, x: Any) -> Any:
    return array.scatter(tf.range(STEPS - 1, -1, -1), x)


def in_two_parts(array: Any, x: Any) -> Any:
    return array.scatter(tf.range(3), x[:3]).scatter(tf.range(3, STEPS), x[3:])


def not_fed(array: Any, x: Any) -> Any:
    return array.unstack(tf.tanh(x))


@pytest.mark.parametrize("unstack", [backwards, in_two_parts, not_fed])
def test_inputs_are_saved_where_nothing_proves_them_to_be_what_was_fed(
    unstack: Callable[[Any, Any], Any],
) -> None:
    graph = recurrent(unstack=unstack)
    check(graph, (6, 1), frames=FRAMES)
    assert saved(graph, frames=FRAMES) == [*STATE, "TensorArrayReadV3"]


def test_what_is_fed_by_name_is_no_copy_of_what_it_was_made_from() -> None:
    graph = recurrent(loss=on_outputs, stack=all_of, batch_first=True)
    _, plan = rewrite(graph, frames=FRAMES)
    found = plan.loops[0].read_again.values()
    (behind,) = (ref for ref in found if graph[ref.node].op == "Transpose")
    (before,) = (n for n in graph.readers["x"] if graph[n].op == "Transpose")
    _, plan = rewrite(graph, frames=FRAMES, fed=(f"{before}:0", str(behind)))
    (found,) = plan.loops[0].read_again.values()
    assert graph[found.node].op == "TensorArrayGatherV3"


def test_loops_in_loops_and_in_branches_keep_their_stacks() -> None:
    with loops_of_v1(), tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [STEPS, ROWS, WIDTH], name="x")
        tf.placeholder_with_default(STEPS, [], name="n")
        kernel = weight("kernel", [WIDTH, WIDTH])

        def step(h: Any, xt: Any) -> Any:
            return tf.tanh(tf.matmul(tf.sigmoid(h * xt), kernel)) * tf.sin(xt)

        def rows(name: str) -> Any:
            return tf.scan(step, x, tf.zeros([ROWS, WIDTH]), name=name)

        nest = tf.map_fn(lambda t: t * rows("inner"), tf.constant([1.0, 2.0]), name="outer")
        branch = tf.cond(x[0, 0, 0] < 9.0, lambda: rows("branch"), lambda: x)
        graph = trained(tf.reduce_mean(tf.square(nest) + tf.square(branch), name="loss"))
    plan = check(graph, counts=(6, 6), frames="inner|branch")
    assert len(plan.loops) == 2
    assert [loop.read_again for loop in plan.loops] == [{}, {}]
