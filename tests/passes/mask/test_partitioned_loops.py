"""A kernel kept in parts, joined outside of a loop and used in it: found by tools/programs."""

from __future__ import annotations

from typing import Any

import pytest

from graphrev.api import verify
from graphrev.ir import Graph
from tests.nets import tf
from tests.passes.mask.nets import built, mask

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def _looped() -> Any:
    x = tf.placeholder(tf.float32, [4, 4, 4, 6], "x")
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2), use_resource=True):
        start = tf.random_normal_initializer(stddev=0.1, seed=1)
        kernel = tf.get_variable("kernel", [3, 3, 6, 6], initializer=start)

    def body(i: Any, h: Any) -> Any:
        return i + 1, tf.tanh(tf.nn.conv2d(h, tf.convert_to_tensor(kernel), 1, "SAME"))

    _, y = tf.while_loop(lambda i, _: i < 2, body, (tf.constant(0), x))
    return tf.reduce_mean(tf.square(y))


def test_the_gradient_that_leaves_the_loop_is_masked_in_the_joined_form() -> None:
    graph: Graph = built(_looped)
    outcome, plan = mask(graph, begin=1000)
    assert len(plan.kernels) == 2
    found = verify(graph, outcome.after)
    assert found.ok, found.to_text()
