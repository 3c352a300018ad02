"""Training steps other than one plain ``minimize``: in a branch, one after another, of a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphrev.errors import UsageError
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.nets import snapshot, tf
from tests.passes.mask.nets import Session, added, batch, mask, variable, zeros

X = {"x:0": batch((2, 4))}


def product(name: str, resource: bool = False) -> Any:
    x = tf.placeholder(tf.float32, [2, 4], "x")
    return tf.tanh(tf.matmul(x, variable(name, [4, 4], resource=resource)))


def of(build: Callable[[], Any]) -> Graph:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(3)
        build()
        return snapshot(graph)


def in_a_branch(resource: bool) -> None:
    """The step is skipped where a gradient of the scaled loss is not finite."""
    scale = tf.placeholder_with_default(8.0, [], "scale")
    step = tf.train.get_or_create_global_step()
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    loss = tf.reduce_sum(product("w", resource))
    gradients = [(g / scale, v) for g, v in optimizer.compute_gradients(loss * scale)]
    fine = tf.reduce_all(tf.is_finite(gradients[0][0]))
    update = lambda: optimizer.apply_gradients(gradients, step)  # noqa: E731
    tf.group(tf.cond(fine, update, tf.no_op), name="train")


@pytest.mark.usefixtures("control_flow_v1")
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("options", [{}, {"criterion": "taylor"}, {"regrowth": "rigl"}], ids=str)
def test_an_optimizer_in_a_branch_trains_to_the_sparsity(
    options: dict[str, str], resource: bool
) -> None:
    graph = of(lambda: in_a_branch(resource))
    session = Session(mask(graph, sparsity=0.5, begin=0, end=4, frequency=1, **options)[0].after)
    for _ in range(6):
        session.run("train", X)
    assert zeros(session) == {"w": 8}
    kept, weights = session.value(added(session.graph, "mask")["w"]), session.value("w")
    session.run("train", {**X, "scale:0": np.inf})
    np.testing.assert_array_equal(session.value("w"), weights)
    np.testing.assert_array_equal(session.value(added(session.graph, "mask")["w"]), kept)


def one_after_the_other() -> None:
    """As adversarial nets are trained: the second step's code comes after the first update."""
    step = tf.train.get_or_create_global_step()
    first, second = (tf.reduce_sum(tf.square(product(name))) for name in ("v", "w"))
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    ours, others = ([v for v in tf.trainable_variables() if v.op.name == n] for n in ("v", "w"))
    done = optimizer.minimize(first, var_list=ours, name="first")
    with tf.control_dependencies([done]):
        optimizer.minimize(second, step, var_list=others, name="second")
        tf.zeros_like(second, name="dead")


def test_of_two_steps_in_a_row_the_last_is_the_training_op() -> None:
    session = Session(mask(of(one_after_the_other), sparsity=0.5, frequency=1, end=3)[0].after)
    for _ in range(5):
        session.run("second", {f"{name}:0": X["x:0"] for name in ("x", "x_1")})
    assert zeros(session) == {"v": 8, "w": 8}


def side_by_side() -> None:
    step = tf.train.get_or_create_global_step()
    for name in ("v", "w"):
        loss = tf.reduce_sum(tf.square(product(name)))
        owned = [v for v in tf.trainable_variables() if v.op.name == name]
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        optimizer.minimize(loss, step, var_list=owned, name=f"train_{name}")


def test_two_steps_beside_each_other_are_asked_about() -> None:
    with pytest.raises(UsageError, match=r"'train_v', 'train_w'\. Say which"):
        mask(of(side_by_side), sparsity=0.5)


def by_a_copy() -> None:
    """As in A3C: a worker's copy has the gradients, and the shared kernel is updated by them."""
    step = tf.train.get_or_create_global_step()
    product("shared")
    loss = tf.reduce_sum(tf.square(product("local")))
    shared, local = sorted(tf.trainable_variables(), key=lambda v: v.op.name, reverse=True)
    gradients = tf.gradients(loss, [local])
    done = tf.train.GradientDescentOptimizer(0.1).apply_gradients([(gradients[0], shared)], step)
    with tf.control_dependencies([done]):
        tf.group(local.assign(shared), name="train")


def test_a_kernel_that_a_copy_is_trained_for_is_left_alone() -> None:
    """A mask on it would change nothing that is trained."""
    outcome, plan = mask(of(by_a_copy), sparsity=0.5)
    assert set(outcome.after.nodes) == set(outcome.before.nodes)
    found = {rejection.nodes[0]: rejection for rejection in plan.rejections}
    assert set(found) == {"shared", "local"}
    assert found["shared"].code is Code.GRADIENT_UNCLEAR
    assert "gradients of something else" in found["shared"].reason
    assert found["local"].code is Code.NOT_TRAINED
