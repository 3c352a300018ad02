"""A loop of 400 iterations whose values grow ten-thousandfold, in both kinds of control flow."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

from graphrev.io import decode_graph
from graphrev.ir import Graph
from graphrev.passes import Reversible
from graphrev.pipeline import run
from tests.passes.reversible import function_nets, loop_nets
from tests.passes.reversible.function_nets import tf, values, weight

ITERATIONS = 400


def body(i: Any, a: Any, b: Any) -> list[Any]:
    """Streams that grow by 2.3 % an iteration; what grows in one direction shrinks in another."""
    with tf.variable_scope("grow", reuse=tf.AUTO_REUSE):
        w = weight("w")
    a = a + (tf.matmul(b, w) * 0.0216 + 0.03 * tf.tanh(b))
    return [i + 1, a, b + (tf.matmul(a, w) * 0.0216 + 0.03 * tf.tanh(a))]


def functional() -> tuple[Graph, tuple[str, ...]]:
    def forward(x: Any, n: Any) -> Any:
        return tf.while_loop(lambda i, *_: i < n, body, [0, x, x * 2.0])[1:]

    return function_nets.build(forward, train=False)


def of_tf1() -> tuple[Graph, tuple[str, ...]]:
    still = loop_nets.Net(body, optimizer=lambda: tf.train.GradientDescentOptimizer(0.0))
    live, names = loop_nets.build(still)
    with live.as_default():
        tf.variables_initializer(tf.global_variables(), name="init")
    return decode_graph(live.as_graph_def().SerializeToString()), tuple(names)


def error(graph: Graph, names: tuple[str, ...], expected: list[Any]) -> float:
    """The largest relative L2 error of a gradient after 400 iterations, against ``expected``."""
    (found,) = values(graph, names, (ITERATIONS,))
    assert found[0] == pytest.approx(expected[0], rel=1e-6), "the loss"
    pairs = list(zip(expected[1:], found[1:], strict=True))
    assert pairs and all(np.isfinite(left).all() and np.any(left) for left, _ in pairs)
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs)


@pytest.mark.parametrize("build", [of_tf1, functional])
def test_anchors_bound_the_drift_of_a_loop_whose_values_grow(build: Any) -> None:
    before, names = build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what overflows is compared with nothing
        first, expected = values(before, names, (0, ITERATIONS))
        assert math.sqrt(expected[0] / first[0]) > 1e4, "the values grow ten-thousandfold"
        found: dict[str, float] = {}
        for option in ("", "anchor_every", "max_drift"):
            options = {"anchor_every": 20, "max_drift": 1e-5}
            chosen = {option: options[option]} if option else {}
            done = run(before, [Reversible(detect="structural", **chosen)])
            said = "\n".join(done.steps[0].plan.describe())
            assert ("no anchors: more drift where the streams grow" in said) == (not option)
            assert ("saved every 20" in said) == bool(option)
            found[option] = error(done.after, names, expected)
    assert found["anchor_every"] < 1e-3 and found["max_drift"] < 1e-3
    assert found[""] > 0.05, "without anchors the drift is as large as the plan warns"
