"""The mask update: exact counts whatever the ties, schedules, and its place in the step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.analysis.ops import known_to_tf1
from graphrev.errors import UsageError
from graphrev.ir.marks import kernel_of
from graphrev.passes import Mask
from graphrev.passes.mask.schedule import Schedule
from graphrev.pipeline import run
from tests.nets import tf
from tests.passes.mask.nets import Session, batch, built, convolutions, mask, variable, zeros

rng = np.random.default_rng(1)
WEIGHTS: dict[str, Any] = {
    "normal": rng.standard_normal((40, 25)),
    "all equal": np.full((40, 25), -0.5),
    "integer grid": rng.integers(-3, 4, (40, 25)).astype(float),
    "mostly zero": rng.standard_normal((40, 25)) * (rng.random((40, 25)) > 0.8),
    "one outlier": np.where(np.arange(1000).reshape(40, 25) == 7, 1e4, 1e-3),
    "huge and tiny": np.exp(rng.uniform(-9, 9, (40, 25))),
    "negative zeros": np.full((40, 25), -0.0),
}


def one_kernel(shape: list[int], dtype: Any = None, resource: bool = False) -> Any:
    """A graph that nothing trains: its mask update is an op of its own."""

    def build() -> Any:
        kind = dtype or tf.float32
        x = tf.placeholder(kind, [2, shape[0]], "x")
        return tf.matmul(x, variable("w", shape, dtype=kind, resource=resource), name="y")

    return built(build, train=False)


def updated_mask(weights: Any, sparsity: float, dtype: Any = None, resource: bool = False) -> Any:
    after = mask(one_kernel(list(weights.shape), dtype, resource), sparsity=sparsity)[0].after
    session = Session(after)
    session.assign("w", weights)
    session.run("model_pruning/mask_update")
    return session.value("mask"), session.value("threshold")


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_exactly_the_smallest_weights_are_dropped(kind: str, sparsity: float) -> None:
    weights = WEIGHTS[kind].astype(np.float32)
    found, threshold = updated_mask(weights, sparsity)
    count = round(weights.size * sparsity)
    order = np.argsort(np.abs(weights).ravel(), kind="stable")
    wanted = np.ones(weights.size)
    wanted[order[:count]] = 0
    np.testing.assert_array_equal(found.ravel(), wanted)
    assert threshold == np.abs(weights).ravel()[order[max(count, 1) - 1]]


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.6])
def test_weights_that_are_no_numbers_are_dropped_last(sparsity: float) -> None:
    weights = rng.standard_normal((40, 25)).astype(np.float32)
    weights[::2] = np.nan
    weights[1, :3] = -np.inf
    found, _ = updated_mask(weights, sparsity)
    magnitudes = np.where(np.isnan(weights), np.inf, np.abs(weights)).ravel()
    keys = np.where(np.isnan(weights), 1, 0).ravel()
    order = np.lexsort((keys, magnitudes))
    assert set(np.flatnonzero(found.ravel() == 0)) == set(order[: round(1000 * sparsity)])


def test_many_ties_in_a_kernel_of_four_axes_are_dropped_in_index_order() -> None:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [1, 5, 5, 6], "x")
        return tf.nn.conv2d(x, variable("w", [3, 3, 6, 7]), 1, "SAME", name="y")

    session = Session(mask(built(build, train=False), sparsity=0.5)[0].after)
    weights = np.where(np.arange(378) % 5 == 0, -2.0, 0.0).astype(np.float32)
    session.assign("w", weights.reshape(3, 3, 6, 7))
    session.run("model_pruning/mask_update")
    found = session.value("mask")
    assert found.shape == (3, 3, 6, 7)
    assert set(np.flatnonzero(found.ravel() == 0)) == set(np.flatnonzero(weights == 0)[:189])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
@pytest.mark.parametrize("resource", [False, True])
def test_other_float_types_are_exact(dtype: Any, resource: bool) -> None:
    for weights in WEIGHTS.values():
        rounded = weights.astype(dtype.as_numpy_dtype)
        found, _ = updated_mask(rounded, 0.7, dtype, resource)
        order = np.argsort(np.abs(rounded.astype(float)).ravel(), kind="stable")
        assert set(np.flatnonzero(found.ravel() == 0)) == set(order[:700])


@pytest.mark.parametrize("dtype", [tf.float16, tf.float64])
def test_other_float_types_train_to_the_sparsity_asked_for(dtype: Any) -> None:
    graph = built(lambda: convolutions(dtype=dtype, resource=True))
    outcome, plan = mask(graph, sparsity=0.8, begin=2, end=8, frequency=2)
    session = Session(outcome.after)
    feeds = {"x:0": 0.1 * batch((8, 6, 6, 3))}
    start = {k.variable: session.value(k.variable) for k in plan.kernels}
    losses = [session.run(["loss:0", "train"], feeds)[0] for _ in range(12)]
    assert np.isfinite(losses).all()
    assert zeros(session) == {k.variable: round(k.size * 0.8) for k in plan.kernels}
    for kernel, before in start.items():
        now = session.value(kernel)
        assert now.dtype == dtype.as_numpy_dtype
        assert (now != before).any()


@pytest.mark.parametrize(("shape", "sparsity", "left"), [([1, 1], 0.9, 1), ([1, 3], 0.9, 1)])
def test_tiny_kernels_keep_a_weight(shape: list[int], sparsity: float, left: int) -> None:
    found, _ = updated_mask(np.ones(shape, np.float32), sparsity)
    assert found.sum() == left


def test_schedule_is_followed_and_masks_freeze_at_its_end() -> None:
    options = {"sparsity": 0.8, "schedule": "polynomial", "begin": 4, "end": 12, "frequency": 4}
    after, plan = (lambda r: (r[0].after, r[1]))(mask(built(convolutions), **options))
    session = Session(after)
    schedule = Schedule("polynomial", 4, 12, 4)
    sizes = {kernel.variable: kernel.size for kernel in plan.kernels}
    feeds = {"x:0": batch((8, 6, 6, 3))}
    last = None
    for step in range(1, 18):
        session.run("train", feeds)
        share = 0.0 if step < 4 else schedule.share(min(step - step % 4, 12))
        assert zeros(session) == {k: round(n * 0.8 * share) for k, n in sizes.items()}, step
        masks = [session.value(f"{name}/mask") for name in ("c1", "c2", "f1", "f2")]
        if step > 12:
            assert all(np.array_equal(a, b) for a, b in zip(masks, last))
        last = masks


@pytest.mark.parametrize(
    "shape", ["constant", "polynomial", "linear", "exponential", "cosine", "multistep"]
)
def test_graph_computes_the_schedule_that_python_does(shape: Any) -> None:
    options = {"sparsity": 0.9, "schedule": shape, "begin": 1, "end": 11, "frequency": 1}
    after, plan = (lambda r: (r[0].after, r[1]))(mask(built(convolutions), **options))
    session = Session(after)
    schedule = Schedule(shape, 1, 11, 1)
    for step in range(1, 13):
        session.run("train", {"x:0": batch((8, 6, 6, 3))})
        share = schedule.share(step)
        wanted = {k.variable: k.size * 0.9 * share for k in plan.kernels}
        found = zeros(session)
        assert all(abs(found[k] - wanted[k]) <= 0.5 + 1e-6 for k in wanted), step
    assert zeros(session) == {k.variable: k.zeros for k in plan.kernels}


def test_update_sees_the_weights_after_the_optimizer_step() -> None:
    after = mask(built(convolutions), sparsity=0.5, frequency=1)[0].after
    session = Session(after)
    session.run("train", {"x:0": batch((8, 6, 6, 3))})
    weights, kept = session.value("f1/kernel"), session.value("f1/mask")
    assert np.abs(weights[kept == 0]).max() <= np.abs(weights[kept == 1]).min()


def test_only_ops_of_tensorflow_1_are_added_and_few_of_them() -> None:
    def count(kernels: int) -> int:
        def build() -> Any:
            h = tf.placeholder(tf.float32, [2, 8], "x")
            for number in range(kernels):
                h = tf.tanh(tf.matmul(h, variable(f"l{number}/w", [8, 8])))
            return tf.reduce_sum(h)

        before = built(build)
        after = mask(before)[0].after
        assert all(known_to_tf1(n.op) for n in after.nodes.values())
        fresh = [n for n in after.nodes.values() if n.name not in before.nodes]
        beside = [n for n in fresh if kernel_of(n) == "l0/w" and n.name.startswith("l0/")]
        assert len(beside) <= 9
        return len(fresh)

    assert count(4) - count(3) < 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 1.0}, "below 1"),
        ({"schedule": "polynomial"}, "needs end"),
        ({"include": ("nothing",)}, "matches no kernel"),
        ({"exclude": ("(",)}, "no regular expression"),
        ({"targets": ("c1:0.5", "kernel:0.6")}, "matches two targets"),
        ({"targets": ("zzz:0.5",)}, "matches no masked kernel"),
        ({"targets": ("c1",)}, "not REGEX:SPARSITY"),
        ({"global_step": "loss"}, "no integer scalar variable"),
        ({"train_op": "nope"}, "not in the graph"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mask(built(convolutions), **options)


def test_missing_global_step_is_named() -> None:
    with pytest.raises(UsageError, match="advances no global step"):
        mask(built(convolutions, steps=False))


def test_graph_without_kernels_is_refused() -> None:
    with pytest.raises(UsageError, match="has no kernel"):
        mask(built(lambda: tf.reduce_sum(variable("w", [3])), train=False))


def test_targets_and_erk_set_the_sparsity_of_each_kernel() -> None:
    _, plan = mask(built(convolutions), sparsity=0.5, targets=("^c1/:0.25",))
    assert [k.sparsity for k in plan.kernels] == [0.25, 0.5, 0.5, 0.5]
    _, plan = mask(built(convolutions), sparsity=0.9, allocation="erk")
    weights = sum(k.size for k in plan.kernels)
    assert abs(sum(k.zeros for k in plan.kernels) - 0.9 * weights) <= len(plan.kernels)
    assert len({k.sparsity for k in plan.kernels}) > 1


def test_mask_runs_by_name_and_says_what_it_does() -> None:
    report = graphrev.analyze(built(convolutions), "mask{sparsity=0.9,end=100}")
    assert "2 kernels of 3780 weights masked" in report.to_text(memory=False)


def test_update_is_made_where_all_that_trains_meets() -> None:
    """Two ops end the step, and the counter comes after the optimizer."""

    def build() -> Any:
        loss = convolutions()
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss, name="sgd")
        with tf.control_dependencies([train]):
            step = tf.get_variable("counter", [], tf.int64, tf.zeros_initializer())
            counted = tf.assign_add(step, 1)
        tf.group(counted, name="train")
        tf.identity(counted, name="shown")
        return loss

    options = {"sparsity": 0.5, "begin": 2, "frequency": 2}
    after, plan = (lambda r: (r[0].after, r[1]))(mask(built(build, train=False), **options))
    assert plan.update is not None and plan.update.train_op == "sgd"
    session = Session(after)
    for step in range(1, 4):
        session.run("train", {"x:0": batch((8, 6, 6, 3))})
        assert bool(sum(zeros(session).values())) == (step >= 2)


def test_two_training_ops_are_asked_about() -> None:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [2, 3], "x")
        a, b = variable("a", [3, 4]), variable("b", [4, 5])
        loss = tf.reduce_sum(tf.matmul(tf.matmul(x, a), b))
        step = tf.train.get_or_create_global_step()
        for v in (a, b):
            tf.train.GradientDescentOptimizer(0.1).minimize(
                loss, step, [v], name=f"train_{v.op.name}"
            )
        return loss

    with pytest.raises(UsageError, match="2 ops may be the training op: 'train_a', 'train_b'"):
        mask(built(build, train=False))


def test_callable_is_tabulated_and_followed() -> None:
    def sparsity_at(step: int) -> float:
        return 0.1 if step < 4 else 0.3 if step < 7 else 0.75

    given = Mask.following(sparsity_at, begin=1, end=9, frequency=3, first="masked", last="masked")
    outcome = run(built(convolutions), [given])
    session = Session(outcome.after)
    sizes = {"c1/kernel": 108, "c2/kernel": 180, "f1/kernel": 3600, "f2/kernel": 140}
    for step in range(1, 13):
        session.run("train", {"x:0": batch((8, 6, 6, 3))})
        share = sparsity_at(min(1 + (step - 1) // 3 * 3, 9) if step < 10 else 9)
        assert zeros(session) == {k: round(n * share) for k, n in sizes.items()}, step


def test_tensor_tells_the_sparsity() -> None:
    def build() -> Any:
        tf.placeholder_with_default(tf.constant(0.25, tf.float64), [], "wanted")
        return convolutions()

    options = {"schedule": "tensor", "tensor": "wanted:0", "sparsity": 0.5, "frequency": 1}
    after, plan = (lambda r: (r[0].after, r[1]))(mask(built(build), **options))
    session = Session(after)
    feeds = {"x:0": batch((8, 6, 6, 3))}
    for share in (0.25, 0.9, 1.0):
        session.run("train", {**feeds, "wanted:0": share})
        assert zeros(session) == {
            k.variable: min(round(k.size * share), k.size - 1) for k in plan.kernels
        }
    with pytest.raises(UsageError, match="no floating-point tensor"):
        mask(built(build), **{**options, "tensor": "nothing"})


def test_adam_of_resource_variables_has_one_training_op() -> None:
    """Adam reads the powers of its betas after it assigned them; nobody reads those reads."""

    def build() -> Any:
        loss = convolutions(resource=True)
        step = tf.train.get_or_create_global_step()
        tf.train.AdamOptimizer(0.01).minimize(loss, global_step=step, name="train")
        return loss

    _, plan = mask(built(build, train=False))
    assert plan.update is not None and plan.update.train_op == "train"
