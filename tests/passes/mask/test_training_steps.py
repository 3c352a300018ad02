"""Training steps other than one plain ``minimize``: in a branch, one after another, of a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphrev.errors import UsageError
from graphrev.ir import Graph
from graphrev.pipeline import Code
from graphrev.verification import verify
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


def by_assignments(resource: bool) -> None:
    """BERT's optimizer: Adam with weight decay in plain arithmetic, the step counted by hand."""
    step = tf.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.square(tf.matmul(product("v", resource), variable("w", [4, 4]))))
    done: list[Any] = []
    weights = tf.trainable_variables()
    for gradient, w in zip(tf.gradients(loss, weights), weights):
        m = tf.get_variable(f"{w.op.name}_m", [4, 4], trainable=False, use_resource=resource,
                            initializer=tf.zeros_initializer())  # fmt: skip
        following = 0.9 * m + 0.1 * gradient
        done += [w.assign(w - 0.1 * (following + 0.01 * w)), m.assign(following)]
    tf.group(*done, step.assign(step + 1), name="train")


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_an_optimizer_of_plain_arithmetic_trains_to_the_sparsity(
    criterion: str, resource: bool
) -> None:
    """The first kernel's gradient is no input gradient's twin: it is known by where it leads."""
    graph = of(lambda: by_assignments(resource))
    outcome, plan = mask(graph, sparsity=0.5, begin=1, end=4, frequency=1, criterion=criterion)
    assert {kernel.variable: len(kernel.gradients) for kernel in plan.kernels} == {"v": 1, "w": 1}
    assert not resets(outcome.after, "train")
    session = Session(outcome.after)
    for _ in range(6):
        session.run("train", X)
    assert zeros(session) == {"v": 8, "w": 8}


def resets(graph: Graph, step: str) -> list[str]:
    """The initializers of masks that a step waits for."""
    masks = added(graph, "mask").values()
    waits = (graph[name] for name in graph[step].control_inputs)
    return [one.name for one in waits if one.inputs and one.inputs[0].node in masks]


def clipped(resource: bool) -> None:
    """As critics are trained: all weights are clipped behind the step."""
    step = tf.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.square(tf.matmul(product("v", resource), variable("w", [4, 4]))))
    weights = tf.trainable_variables()
    done = tf.train.GradientDescentOptimizer(0.1).minimize(loss, step)
    with tf.control_dependencies([done]):
        values = [tf.clip_by_value(w.read_value(), -0.5, 0.5) for w in weights]
        tf.group(*(w.assign(value) for w, value in zip(weights, values)), name="train")


def copied(resource: bool) -> None:
    """Kernels that are also set to what others hold, as a target network's are."""
    step = tf.train.get_or_create_global_step()
    start = variable("start", [4, 4]).initialized_value()
    copy = tf.get_variable("copy", None, None, start, use_resource=resource)
    x = tf.placeholder(tf.float32, [2, 4], "x")
    loss = tf.reduce_sum(tf.square(tf.matmul(tf.tanh(tf.matmul(x, variable("w", [4, 4]))), copy)))
    tf.train.GradientDescentOptimizer(0.1).minimize(loss, step, name="train")
    held = variable("held", [4, 4], resource=resource)
    tf.group(copy.assign(tf.convert_to_tensor(held)), name="back")
    tf.global_variables_initializer()


@pytest.mark.usefixtures("control_flow_v1")
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_only_initializers_start_masks_anew(resource: bool) -> None:
    """A group that assigns what was computed from variables is none."""
    outcome, _ = mask(of(lambda: clipped(resource)), sparsity=0.5, begin=0, end=2, frequency=1)
    assert not resets(outcome.after, "train")
    session = Session(outcome.after)
    for _ in range(5):
        session.run("train", X)
        assert zeros(session) == {"v": 8, "w": 8}
    after = mask(of(lambda: copied(resource)), sparsity=0.5)[0].after
    assert not resets(after, "back")
    assert len(resets(after, "init")) == len(added(after, "mask"))


def summed_up(resource: bool) -> None:
    """Gradients of two steps are added before they are applied."""
    step = tf.train.get_or_create_global_step()
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    loss = tf.reduce_sum(tf.square(tf.matmul(product("v", resource), variable("w", [4, 4]))))
    zero = tf.zeros_initializer()
    count = tf.get_variable("count", [], tf.int64, zero, trainable=False)
    sums: list[tuple[Any, Any]] = []
    added_up: list[Any] = [count.assign_add(1)]
    for gradient, w in optimizer.compute_gradients(loss):
        name = f"{w.op.name}_sum"
        held = tf.get_variable(name, [4, 4], None, zero, trainable=False, use_resource=resource)
        added_up.append(held.assign_add(gradient))
        sums.append((held, w))
    with tf.control_dependencies(added_up):
        due = tf.equal(count.read_value() % 2, 0)

        def apply() -> Any:
            means = [(held.read_value() / 2.0, w) for held, w in sums]
            with tf.control_dependencies([optimizer.apply_gradients(means, step)]):
                return tf.group(*(held.assign(tf.zeros([4, 4])) for held, _ in sums))

        tf.group(tf.cond(due, apply, tf.no_op), name="train")


@pytest.mark.usefixtures("control_flow_v1")
@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_gradients_that_are_summed_up_first_are_masked(resource: bool) -> None:
    graph = of(lambda: summed_up(resource))
    options = {"begin": 0, "frequency": 1, "end": 2, "global_step": "global_step"}
    outcome, plan = mask(graph, sparsity=0.5, **options)
    assert [len(kernel.gradients) for kernel in plan.kernels] == [1, 1]
    session = Session(outcome.after)
    for _ in range(8):
        session.run("train", X)
    assert zeros(session) == {"v": 8, "w": 8}
    session.run("train", X)
    for kernel, name in added(session.graph, "mask").items():
        held = session.value(f"{kernel}_sum")
        assert not held[session.value(name) == 0].any() and held.any()


@pytest.mark.usefixtures("control_flow_v1")
def test_a_step_that_depends_on_a_counter_is_verified_from_the_same_count() -> None:
    """Each gradient is asked for in a step of its own, and a step changes the counter."""
    graph = of(lambda: summed_up(False))
    found = verify(graph, graph)
    assert found.ok and any("where a branch is not taken" in note for note in found.notes)


def normalized() -> None:
    """A state that is computed from itself by products, as in spectral normalization."""
    step = tf.train.get_or_create_global_step()
    state = variable("state", [1, 4])
    h = product("w")
    following = tf.nn.l2_normalize(tf.matmul(tf.matmul(state, h, transpose_b=True), h))
    loss = tf.reduce_sum(tf.square(h)) + tf.reduce_sum(tf.stop_gradient(following))
    weights = [v for v in tf.trainable_variables() if v.op.name == "w"]
    done = tf.train.GradientDescentOptimizer(0.1).minimize(loss, step, var_list=weights)
    tf.group(done, state.assign(following), name="train")


def test_a_state_that_is_computed_from_itself_is_not_trained() -> None:
    _, plan = mask(of(normalized), sparsity=0.5)
    assert [kernel.variable for kernel in plan.kernels] == ["w"]
    assert [r.nodes[0] for r in plan.rejections if r.code is Code.NOT_TRAINED] == ["state"]
