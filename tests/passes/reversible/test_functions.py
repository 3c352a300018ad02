"""Functional loops, branches and calls: what their gradients no longer save, and exactness."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow

from graphrev.ir import Graph
from tests.passes.reversible.function_nets import (
    assert_same,
    build,
    layer,
    ops_in_functions,
    pair,
    rewrite,
    tf,
)


def loop(x: Any, n: Any, body: Any, *others: Any) -> Any:
    return tf.while_loop(lambda i, *_: i < n, body, [0, x, x * 2.0, *others], name="loop")


def plain_loop(x: Any, n: Any) -> Any:
    return loop(x, n, lambda i, a, b: (i + 1, *pair(a, b)))[1:]


def swapped_loop(x: Any, n: Any) -> Any:
    return loop(x, n, lambda i, a, b: (i + 1, *pair(a, b)[::-1]))[1:]


def one_half_an_iteration(x: Any, n: Any) -> Any:
    return loop(x, n, lambda i, a, b: (i + 1, b + layer(a, "f"), a))[1:]


def two_pairs_an_iteration(x: Any, n: Any) -> Any:
    return loop(x, n, lambda i, a, b: (i + 1, *pair(*pair(a, b), name="g")))[1:]


def two_pairs_of_variables(x: Any, n: Any) -> Any:
    def body(i: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return (i + 1, *pair(a, b), *pair(c, d, "g"))

    return loop(x, n, body, x + 1.0, x - 1.0)[1:]


def beside_a_sum(x: Any, n: Any) -> Any:
    def body(i: Any, a: Any, b: Any, total: Any) -> Any:
        a, b = pair(a, b)
        return i + 1, a, b, total + tf.reduce_sum(tf.square(a))

    return loop(x, n, body, 0.0)[1:]


def with_a_swapped_memory(x: Any, n: Any) -> Any:
    return tf.while_loop(
        lambda i, *_: i < n,
        lambda i, a, b: (i + 1, *pair(a, b)),
        [0, x, x * 2.0],
        swap_memory=True,
        parallel_iterations=1,
        maximum_iterations=4,
    )[1:]


LOOPS = [
    plain_loop,
    swapped_loop,
    two_pairs_an_iteration,
    two_pairs_of_variables,
    with_a_swapped_memory,
]


@pytest.mark.parametrize("forward", LOOPS)
def test_loop_of_pairs_saves_nothing_and_carries_its_variables(forward: Any) -> None:
    before, names = build(forward)
    done, plan = rewrite(before)
    assert ops_in_functions(before)["TensorListPushBack"] > 0
    assert ops_in_functions(done.after)["TensorListPushBack"] == 0
    (function,) = plan.functions
    assert function.carried == (4 if forward is two_pairs_of_variables else 2)
    assert_same(before, done.after, names, (5, 0, 1, 3))


@pytest.mark.parametrize("forward", [one_half_an_iteration, beside_a_sum])
def test_what_else_the_loop_does_stays_exact(forward: Any) -> None:
    before, names = build(forward)
    done, _ = rewrite(before)
    assert_same(before, done.after, names, (5, 0, 1))


def test_a_loop_of_unknown_batch_size_saves_less() -> None:
    before, names = build(plain_loop, rows=None)
    done, _ = rewrite(before)
    assert ops_in_functions(done.after)["TensorListPushBack"] == 0
    assert_same(before, done.after, names, (3, 0))


def branch(x: Any, n: Any) -> Any:
    out = tf.cond(n > 3, lambda: pair(x, x * 2.0), lambda: (x * 3.0, x * 2.0), name="branch")
    return out


def both_branches(x: Any, n: Any) -> Any:
    first, second = tf.split(layer(x, "stem"), 2, axis=1)
    first, second = tf.tile(first, [1, 2]), tf.tile(second, [1, 2])
    return tf.cond(n > 3, lambda: pair(first, second), lambda: pair(second, first, "g"))


@pytest.mark.parametrize("forward", [branch, both_branches])
def test_a_branch_hands_fewer_values_to_its_gradient_taken_or_not(forward: Any) -> None:
    before, names = build(forward)
    done, plan = rewrite(before)
    (function,) = plan.functions
    assert function.dropped > function.added
    assert_same(before, done.after, names, (5, 1, 5))


def one_of_three(x: Any, n: Any) -> Any:
    first, second = tf.split(layer(x, "stem"), 2, axis=1)
    first, second = tf.tile(first, [1, 2]), tf.tile(second, [1, 2])
    branches = [
        lambda: pair(first, second),
        lambda: pair(*pair(second, first), name="g"),
        lambda: (first * 2.0, second),
    ]
    return tf.switch_case(n, branches)


def test_each_branch_of_a_case_hands_fewer_values_to_its_gradient() -> None:
    before, names = build(one_of_three)
    assert {"Case", "StatelessCase"} & {node.op for node in before.nodes.values()}
    done, plan = rewrite(before)
    assert plan.rejections == ()
    (function,) = plan.functions
    assert function.dropped > function.added and len(function.blocks) == 2
    assert_same(before, done.after, names, (0, 1, 2, 7, 1))  # 7 is none of them: the last one


def called(x: Any, n: Any) -> Any:
    return tensorflow.function(lambda a, b: pair(*pair(a, b), name="g"))(x, tf.sin(x))


def called_in_a_loop(x: Any, n: Any) -> Any:
    function = tensorflow.function(lambda a, b: pair(*pair(a, b), name="g"))
    return loop(x, n, lambda i, a, b: (i + 1, *function(a, b)))[1:]


def a_loop_that_is_called(x: Any, n: Any) -> Any:
    return tensorflow.function(plain_loop)(x, n)


def loop_in_a_loop(x: Any, n: Any) -> Any:
    def body(i: Any, a: Any, b: Any) -> Any:
        inner = tf.while_loop(
            lambda j, *_: j < 3, lambda j, a, b: (j + 1, *pair(a, b)), [0, tf.sin(a), b]
        )
        return i + 1, inner[1], inner[2]

    return loop(x, n, body)[1:]


def branch_in_a_loop(x: Any, n: Any) -> Any:
    def body(i: Any, a: Any, b: Any) -> Any:
        a, b = tf.cond(i > 1, lambda: pair(tf.sin(a), b), lambda: (a * 0.5, b))
        return i + 1, a, b

    return loop(x, n, body)[1:]


def loop_in_a_branch(x: Any, n: Any) -> Any:
    return tf.cond(n > 3, lambda: plain_loop(x, n), lambda: [x, x])


NESTS = [
    called,
    called_in_a_loop,
    a_loop_that_is_called,
    loop_in_a_loop,
    branch_in_a_loop,
    loop_in_a_branch,
]


@pytest.mark.parametrize("forward", NESTS)
def test_calls_and_nests_save_less_and_stay_exact(forward: Any) -> None:
    before, names = build(forward)
    done, plan = rewrite(before)
    assert plan.functions
    assert sum(f.dropped for f in plan.functions) > sum(f.added for f in plan.functions)
    assert_same(before, done.after, names, (5, 2, 0))


def test_rewritten_twice_nothing_is_changed() -> None:
    before, _ = build(plain_loop)
    once = rewrite(before)[0].after
    again: Graph = rewrite(once)[0].after
    assert again is once


def test_a_saved_variable_is_right_in_every_iteration() -> None:
    before, names = build(plain_loop)
    for every in (1, 2, 3):
        done, _ = rewrite(before, anchor_every=every)
        for count in range(5):
            assert_same(before, done.after, names, (count,))


def unlike_branches_in_a_branch(x: Any, n: Any) -> Any:
    first, second = tf.split(layer(x, "stem"), 2, axis=1)
    first, second = tf.tile(first, [1, 2]), tf.tile(second, [1, 2])

    def more() -> Any:
        a, b = pair(first, second)
        return layer(layer(a, "u"), "t"), b

    def inner() -> Any:
        return tf.cond(n > 4, lambda: pair(first, second), more)

    return tf.cond(n > 2, inner, lambda: (layer(first, "v") * 0.5, tf.sin(second)))


def test_what_only_another_branch_hands_on_is_not_handed_on_under_its_old_number() -> None:
    before, names = build(unlike_branches_in_a_branch)
    done, plan = rewrite(before)
    assert plan.functions
    for function in done.after.functions.values():
        held = [n.inputs[0] for n in function.nodes.values() if n.op == "OptionalFromValue"]
        assert len(set(held)) == len(held)
    assert_same(before, done.after, names, (5, 3, 0))
