"""Recomputation in functional loops, branches and calls: the same bits, fewer values saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev
from graphrev.ir import Graph
from graphrev.passes import Recompute
from graphrev.pipeline import Run, run
from tests.passes.reversible.function_nets import build, layer, ops_in_functions, tf, values


def rewrite(graph: Graph, **options: Any) -> tuple[Run, Any]:
    done = run(graph, [Recompute(**options)])
    return done, done.steps[0].plan


def net(x: Any) -> Any:
    return layer(layer(x, "f"), "g") * 0.5 + x


def marked(x: Any) -> Any:
    with graphrev.recompute_scope():
        return net(x)


def loop_of(body: Any) -> Any:
    def forward(x: Any, n: Any) -> Any:
        return [
            tf.while_loop(lambda i, _: i < n, lambda i, a: (i + 1, body(a)), [0, x], name="l")[1]
        ]

    return forward


def branch(x: Any, n: Any) -> Any:
    return [tf.cond(n > 3, lambda: marked(x), lambda: x * 2.0)]


def called(x: Any, n: Any) -> Any:
    return [tensorflow.function(marked)(x)]


@pytest.mark.parametrize("forward", [loop_of(marked), branch, called])
def test_a_region_in_a_function_is_computed_again_with_the_same_bits(forward: Any) -> None:
    before, names = build(forward)
    done, plan = rewrite(before)
    (function,) = plan.functions
    assert function.dropped > function.added
    for counts in ((5,), (0,)):
        for one, two in zip(values(before, names, counts)[0], values(done.after, names, counts)[0]):
            np.testing.assert_array_equal(one, two)


def test_a_functional_loop_named_by_frames_saves_its_state_alone() -> None:
    before, names = build(loop_of(net))
    done, plan = rewrite(before, frames="^l$")
    assert plan.functions
    pushed = ops_in_functions(done.after)["TensorListPushBack"]
    assert pushed < ops_in_functions(before)["TensorListPushBack"]
    assert pushed == 1
    for one, two in zip(values(before, names)[0], values(done.after, names)[0]):
        np.testing.assert_array_equal(one, two)
