"""Training programs that are fed by queues, and gradients that wait in accumulators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graphrev.analysis.shapes import infer_shapes
from graphrev.ir import DType, Graph, TensorRef
from graphrev.verification import verify
from tests.nets import dense, rewrite, snapshot, tf


def trained(x: Any, optimizer: Any) -> Graph:
    x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)
    for number in range(2):
        x1 = tf.add(x1, dense(x2, f"f{number}"))
        x2 = tf.add(x2, dense(x1, f"g{number}"))
    loss = tf.reduce_mean(tf.square(x1 + x2), name="loss")
    optimizer.minimize(loss, tf.train.create_global_step(), name="train")
    return snapshot(tf.get_default_graph())


def of_many() -> Any:
    return tf.queue.RandomShuffleQueue(9, 1, [tf.float32], [[8]]).dequeue_many(4)


def of_up_to() -> Any:
    return tf.queue.FIFOQueue(9, [tf.int64, tf.float32], [[], [8]]).dequeue_up_to(4)[1]


def of_one() -> Any:
    return tf.queue.PaddingFIFOQueue(9, [tf.float32], [[None, 8]]).dequeue()


def by_priority() -> Any:
    return tf.queue.PriorityQueue(9, [tf.float32], [[8]]).dequeue_many(4)[1]


def through_a_coordinated_queue() -> Any:
    return tf.train.shuffle_batch([tf.random_normal([8])], 4, 20, 8)


QUEUES = [of_many, of_up_to, of_one, by_priority, through_a_coordinated_queue]


@pytest.mark.parametrize("source", QUEUES)
def test_what_a_queue_would_hand_out_is_fed(source: Callable[[], Any]) -> None:
    """Nobody fills the queue here: a step that asked it would wait forever."""
    with tf.Graph().as_default():
        graph = trained(source(), tf.train.GradientDescentOptimizer(0.1))
    outcome, plan = rewrite(graph)
    assert plan.blocks
    found = verify(graph, outcome.after, seconds=60)
    assert found.ok, found.to_text()
    assert {item.kind for item in found.comparisons} == {"output", "gradient", "variable"}


@pytest.mark.parametrize("source", QUEUES)
def test_shapes_are_those_that_tensorflow_infers(source: Callable[[], Any]) -> None:
    with tf.Graph().as_default() as live:
        taken = source()
        name, place, dims = taken.op.name, taken.value_index, tuple(taken.shape.as_list())
        shapes = infer_shapes(snapshot(live))
    assert shapes.of(TensorRef(name, place)).dims == dims


def test_gradients_that_wait_for_other_workers_are_compared_where_they_are_handed_in() -> None:
    with tf.Graph().as_default():
        inner = tf.train.MomentumOptimizer(0.1, 0.9)
        optimizer = tf.train.SyncReplicasOptimizer(inner, replicas_to_aggregate=2)
        graph = trained(tf.placeholder(tf.float32, [4, 8], "x"), optimizer)
    outcome, plan = rewrite(graph)
    assert plan.blocks
    found = verify(graph, outcome.after, seconds=60)
    assert found.ok, found.to_text()
    wrong = dict(outcome.after.nodes)
    taken = next(n for n in wrong.values() if n.op.endswith("AccumulatorApplyGradient"))
    gradient = wrong[taken.inputs[2].node]
    wrong["moved"] = gradient.evolve(name="moved")
    wrong[gradient.name] = gradient.evolve(
        op="Neg", inputs=(TensorRef("moved", taken.inputs[2].index),), attrs={"T": DType.FLOAT}
    )
    missed = verify(graph, Graph.of(wrong.values()), seconds=60)
    assert "gradient" in {item.kind for item in missed.comparisons if not item.ok}
