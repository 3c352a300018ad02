"""Variables as ``MirroredStrategy`` makes them: a copy on each device, one start, one gradient.

The real strategy is in tests/cluster/test_mirrored.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow

import graphrev as gr
from graphrev.errors import UsageError
from graphrev.passes import Mask

tf: Any = tensorflow.compat.v1
NAMES = ("stem", "middle", "more", "head")
MASK = {"sparsity": 0.5, "begin": 0, "frequency": 1}


def net(*, summed: bool = True) -> Any:
    """Two replicas of four dense layers, their gradients summed or each for itself."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(3)
        kernels = _variables()
        losses = [_loss(number, of) for number, of in enumerate(kernels)]
        gradients = [tf.gradients(loss, of) for loss, of in zip(losses, kernels)]
        sums = [tf.add_n(pair) for pair in zip(*gradients)]
        steps = [tf.get_variable("global_step", initializer=0, use_resource=True)]
        start = tf.identity(steps[0].initial_value)
        steps.append(tf.get_variable("copy/global_step", initializer=start, use_resource=True))
        updates = [step.assign_add(1).op for step in steps]
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        for number, of in enumerate(kernels):
            values = map(tf.identity, sums) if summed else gradients[number]
            updates.append(optimizer.apply_gradients(list(zip(values, of))))
        tf.group(*updates, name="train")
    return graph


def _variables() -> list[list[Any]]:
    first = [
        tf.get_variable(
            name, [8, 8], initializer=tf.random_normal_initializer(seed=at), use_resource=True
        )
        for at, name in enumerate(NAMES)
    ]
    second = [
        tf.get_variable(
            f"copy/{name}", initializer=tf.identity(of.initial_value), use_resource=True
        )
        for name, of in zip(NAMES, first)
    ]
    return [first, second]


def _loss(replica: int, kernels: list[Any]) -> Any:
    x = tf.placeholder(tf.float32, [4, 8], name=f"x{replica}")
    for kernel in kernels:
        x = tf.tanh(tf.matmul(x, kernel))
    return tf.reduce_sum(tf.square(x))


def test_first_and_last_are_kept_dense_in_every_copy() -> None:
    masked = {kernel.variable for kernel in plan(net()).kernels}
    assert masked == {"middle", "more", "copy/middle", "copy/more"}


def plan(graph: Any, **options: Any) -> Any:
    pass_ = Mask(**{**MASK, **options})
    return gr.analyze(graph, pass_).steps[0].plan


def test_the_first_of_several_equal_steps_counts() -> None:
    assert plan(net()).update.step == "global_step"


def test_variables_with_gradients_of_their_own_are_no_copies() -> None:
    masked = {kernel.variable for kernel in plan(net(summed=False)).kernels}
    assert len(masked) == 6 and "copy/head" not in masked and "stem" not in masked


@pytest.mark.parametrize(
    "options",
    [
        {"allocation": "global"},
        {"criterion": "random"},
        {"criterion": "taylor"},
        {"regrowth": "set", "end": 9},
    ],
    ids=lambda options: next(iter(options)) + "=" + next(iter(options.values())),
)
def test_what_would_part_the_copies_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"'copy/middle' is a copy of 'middle'"):
        plan(net(), **options)
    assert plan(net(summed=False), **options).kernels
