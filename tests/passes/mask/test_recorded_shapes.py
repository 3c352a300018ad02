"""Graphs whose nodes carry the shapes TensorFlow inferred, as every exported MetaGraphDef does."""

from __future__ import annotations

from typing import Any

import pytest

import graphrev as gr
from tests.nets import tf

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def in_a_branch(x: Any, kernel: Any) -> Any:
    return tf.cond(x[0, 0] > 0, lambda: tf.tanh(tf.matmul(x, kernel)), lambda: x)


def in_a_loop(x: Any, kernel: Any) -> Any:
    def body(i: Any, h: Any) -> Any:
        return i + 1, tf.tanh(tf.matmul(h, kernel))

    return tf.while_loop(lambda i, _: i < 2, body, (0, x))[1]


def in_a_branch_of_a_loop(x: Any, kernel: Any) -> Any:
    def body(i: Any, h: Any) -> Any:
        return i + 1, tf.ensure_shape(in_a_branch(h, kernel), [4, 8])

    return tf.while_loop(lambda i, _: i < 2, body, (0, x))[1]


@pytest.mark.parametrize("net", [in_a_branch, in_a_loop, in_a_branch_of_a_loop])
@pytest.mark.parametrize("resource", [True, False])
def test_a_masked_value_that_is_led_in_does_not_keep_the_shape_of_the_handle(
    net: Any, resource: bool
) -> None:
    """The importer of TensorFlow refuses a node whose recorded shape is not its own."""
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [4, 8], "x")
        start = tf.random_normal_initializer(stddev=0.3, seed=1)
        kernel = tf.get_variable("w", [8, 8], initializer=start, use_resource=resource)
        loss = tf.reduce_mean(tf.square(net(x, kernel)), name="loss")
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        optimizer.minimize(loss, tf.train.create_global_step(), name="train")
        graph = live.as_graph_def(add_shapes=True)
    assert "_output_shapes" in next(n for n in graph.node if n.name == "w").attr
    for specs in (
        "mask{sparsity=0.5,first=masked,last=masked}",
        ["mask{sparsity=0.5,first=masked,last=masked}", "strip-masks"],
    ):
        outcome = gr.rewrite(graph, specs)
        assert outcome.changed
        with tf.Graph().as_default():
            tf.import_graph_def(outcome.graph_def, name="")
