"""Functional loops in loops: a pair is carried back through the inner ones and saved in none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.passes.reversible.function_nets import (
    WIDTH,
    Forward,
    assert_same,
    build,
    layer,
    ops_in_functions,
    rewrite,
    tf,
    values,
)
from tools.bench.child import peak

ROWS = 4096
"""Where memory is measured, so that streams outweigh lists of numbers."""


def pair(a: Any, b: Any, name: str, factor: Any = 1.0) -> tuple[Any, Any]:
    """A residual pair whose values hardly grow: rounding grows with them."""
    a = a + 0.2 * layer(b, f"{name}0") * factor
    return a, b + 0.2 * layer(a, f"{name}1")


def repeated(count: Any, body: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """``body`` run on two streams so many times."""
    loop = tf.while_loop(
        lambda i, *_: i < count, lambda i, a, b: (i + 1, *body(a, b)), (tf.constant(0), a, b)
    )
    return loop[1], loop[2]


def nest(before: int, behind: int, depth: int = 1) -> Forward:
    """Pairs before and behind an inner loop of three iterations, loops in loops ``depth`` deep."""

    def body(a: Any, b: Any, level: int = depth) -> tuple[Any, Any]:
        for number in range(before):
            a, b = pair(a, b, f"before{level}_{number}")
        if level:
            a, b = repeated(3 if level == depth else 2, lambda a, b: body(a, b, level - 1), a, b)
        else:
            a, b = pair(a, b, "innermost")
        for number in range(behind):
            a, b = pair(a, b, f"behind{level}_{number}")
        return a, b

    return lambda x, n: repeated(n, body, 0.3 * x, 0.3 * tf.tanh(x))


def same(graph: Graph, after: Graph, names: Sequence[str], counts: Sequence[int]) -> None:
    """For each number of iterations by itself: a step of training would magnify rounding."""
    for count in counts:
        assert_same(graph, after, names, (count,))


def pushed(graph: Graph) -> int:
    return ops_in_functions(graph)["TensorListPushBack"]


@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2)])
def test_nothing_but_how_often_the_inner_loop_ran_is_saved(before: int, behind: int) -> None:
    graph, names = build(nest(before, behind))
    done, plan = rewrite(graph)
    assert pushed(graph) > 20
    assert pushed(done.after) == 1
    assert [function.carried for function in plan.functions] == [2, 2]
    same(graph, done.after, names, (3, 0, 1))


def test_loops_three_deep_are_carried_through_too() -> None:
    graph, names = build(nest(1, 0, depth=2))
    done, plan = rewrite(graph)
    assert pushed(done.after) == 3  # one count, and one in each iteration of the loop around
    assert [function.carried for function in plan.functions] == [2, 2, 2]
    same(graph, done.after, names, (2, 0))


def test_memory_does_not_grow_with_the_iterations_of_the_outer_loop() -> None:
    graph, _ = build(nest(1, 1), rows=ROWS)
    after = rewrite(graph)[0].after
    one_stream = ROWS * WIDTH * 4
    assert _peak(graph, 24) > 4 * _peak(graph, 4)
    # What runs at the same time varies from run to run, by four streams or so.
    assert _peak(after, 24) - _peak(after, 4) < 20 * one_stream / 2


def _peak(graph: Graph, count: int) -> int:
    """The most bytes alive in a training step of one thread, by the allocator's records."""
    config = tf.ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    feeds = {"x:0": np.zeros([ROWS, 8], np.float32), "n:0": count}
    peaks: list[int] = []
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run("init")
        for _ in range(3):
            data = tf.RunMetadata()
            session.run("train", feeds, options, data)
            peaks.append(peak(data))
    return min(peaks)


@pytest.mark.parametrize("options", [{"anchor_every": 1}, {"anchor_every": 2}, {"max_drift": 1e-6}])
def test_with_anchors_each_loop_saves_its_own(options: dict[str, Any]) -> None:
    graph, names = build(nest(1, 1))
    after = rewrite(graph, **options)[0].after
    assert pushed(after) > 2
    same(graph, after, names, (3, 0))
    if options == {"anchor_every": 1}:
        for one, two in zip(values(graph, names, (3,))[0], values(after, names, (3,))[0]):
            np.testing.assert_allclose(one, two, rtol=0, atol=2e-6 * np.abs(one).max())


def reading_an_earlier_stream(x: Any, n: Any) -> Any:
    """The inner loop reads what the first pair made: its gradient comes before that is rebuilt."""

    def body(a: Any, b: Any) -> tuple[Any, Any]:
        early = a + layer(b, "early")
        a, b = pair(early, b, "second")
        return repeated(2, lambda a, b: pair(a, b, "inner", early), a, b)

    return repeated(n, body, 0.3 * x, 0.3 * tf.tanh(x))


def starting_anew(x: Any, n: Any) -> Any:
    """The inner loop starts from the same values in every iteration."""

    def body(a: Any, b: Any) -> tuple[Any, Any]:
        c, d = repeated(2, lambda c, d: pair(c, d, "inner"), x, tf.sin(x))
        return pair(a + 0.1 * c, b + 0.1 * d, "outer")

    return repeated(n, body, 0.3 * x, 0.3 * tf.tanh(x))


def two_inner_loops(x: Any, n: Any) -> Any:
    def body(a: Any, b: Any) -> tuple[Any, Any]:
        a, b = repeated(2, lambda a, b: pair(a, b, "first"), a, b)
        a, b = pair(a, b, "between")
        return repeated(2, lambda a, b: pair(a, b, "last"), b, a)

    return repeated(n, body, 0.3 * x, 0.3 * tf.tanh(x))


def read_by_the_loss_of_the_body(x: Any, n: Any) -> Any:
    """What the inner loop starts from is read by something else, too."""

    def body(i: Any, a: Any, b: Any, kept: Any) -> Any:
        a, b = pair(a, b, "outer")
        kept = kept + tf.square(a)
        a, b = repeated(2, lambda a, b: pair(a, b, "inner"), a, b)
        return i + 1, a, b, kept + tf.tanh(b)

    start = (tf.constant(0), 0.3 * x, 0.3 * tf.tanh(x), tf.zeros_like(x))
    return tf.while_loop(lambda i, *_: i < n, body, start)[1:]


@pytest.mark.parametrize(
    "forward",
    [reading_an_earlier_stream, starting_anew, two_inner_loops, read_by_the_loss_of_the_body],
)
def test_other_nests_stay_exact_and_save_less(forward: Forward) -> None:
    graph, names = build(forward)
    after = rewrite(graph)[0].after
    assert pushed(after) < pushed(graph)
    same(graph, after, names, (3, 0, 1))


def test_two_inner_loops_are_both_carried_through() -> None:
    graph, _ = build(two_inner_loops)
    assert pushed(rewrite(graph)[0].after) == 2


def test_a_nest_of_an_unknown_number_of_rows_is_left_alone() -> None:
    graph, _ = build(nest(1, 1), rows=None)
    done, plan = rewrite(graph)
    assert done.after is graph
    assert {rejection.code for rejection in plan.rejections} == {Code.SHAPE_UNKNOWN}
