"""Blocks, channels, filters, N of M and joint rankings drop exactly what numpy says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.errors import UsageError
from graphrev.ir import Graph
from tests.nets import tf
from tests.passes.mask.nets import Session, batch, built, mask, variable, zeros

rng = np.random.default_rng(3)


def updated(graph: Graph, values: dict[str, Any], **options: Any) -> tuple[dict[str, Any], Any]:
    """The masks after one update of a graph that nothing trains, and the plan."""
    outcome, plan = mask(graph, **options)
    session = Session(outcome.after)
    for name, value in values.items():
        session.assign(name, value)
    session.run("model_pruning/mask_update")
    return {k.variable: session.value(f"{k.scope}mask{k.part}") for k in plan.kernels}, plan


def convolution(shape: list[int]) -> Graph:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [1, 4, 4, shape[2]], "x")
        return tf.nn.conv2d(x, variable("c/w", shape), 1, "SAME")

    return built(build, train=False)


def dense(shape: list[int], **options: Any) -> Graph:
    def build() -> Any:
        width = shape[1] if options.get("transpose_b") else shape[0]
        return tf.matmul(
            tf.placeholder(tf.float32, [2, width], "x"), variable("d/w", shape), **options
        )

    return built(build, train=False)


def dropped_blocks(weights: Any, high: int, wide: int, count: int) -> Any:
    """By hand: the mean magnitude of each block of the last two axes, the smallest dropped."""
    lead, (rows, columns) = weights.shape[:-2], weights.shape[-2:]
    flat = np.abs(weights).reshape(-1, rows, columns)
    corners = [
        (p, r, c)
        for p in range(len(flat))
        for r in range(0, rows, high)
        for c in range(0, columns, wide)
    ]
    scores = [flat[p, r : r + high, c : c + wide].mean() for p, r, c in corners]
    result = np.ones_like(flat)
    for place in np.argsort(scores, kind="stable")[:count]:
        p, r, c = corners[place]
        result[p, r : r + high, c : c + wide] = 0
    return result.reshape(*lead, rows, columns)


@pytest.mark.parametrize(
    ("shape", "structure", "size"),
    [
        ([8, 6], "2x3", (2, 3)),
        ([8, 6], "-1x1", (8, 1)),
        ([7, 5], "2x2", (2, 2)),
        ([3, 3, 8, 4], "4x1", (4, 1)),
        ([3, 3, 5, 4], "2x3", (2, 3)),
        ([8, 6], "20x20", (8, 6)),
    ],
)
def test_blocks_of_the_smallest_mean_are_dropped(
    shape: list[int], structure: str, size: tuple[int, int]
) -> None:
    graph = dense(shape) if len(shape) == 2 else convolution(shape)
    name = "d/w" if len(shape) == 2 else "c/w"
    weights = rng.standard_normal(shape).astype(np.float32)
    masks, plan = updated(graph, {name: weights}, structure=structure, sparsity=0.6)
    (kernel,) = plan.kernels
    units = kernel.structure.units
    count = min(round(units * 0.6), units - 1)
    np.testing.assert_array_equal(masks[name], dropped_blocks(weights, *size, count))
    if kernel.zeros is not None:
        assert kernel.zeros == (masks[name] == 0).sum()
    assert "blocks of" in plan.describe()[0]


@pytest.mark.parametrize(("structure", "axis"), [("channels", 2), ("filters", 3)])
def test_whole_channels_and_filters(structure: str, axis: int) -> None:
    weights = rng.standard_normal((3, 3, 8, 6)).astype(np.float32)
    masks, plan = updated(
        convolution([3, 3, 8, 6]), {"c/w": weights}, structure=structure, sparsity=0.5
    )
    others = tuple(a for a in range(4) if a != axis)
    scores = np.abs(weights).mean(others)
    kept = np.ones(len(scores))
    kept[np.argsort(scores, kind="stable")[: len(scores) // 2]] = 0
    shape = [len(scores) if a == axis else 1 for a in range(4)]
    np.testing.assert_array_equal(masks["c/w"], np.broadcast_to(kept.reshape(shape), weights.shape))
    assert plan.kernels[0].zeros == weights.size // 2


@pytest.mark.parametrize("flipped", [False, True])
def test_few_of_each_group_of_input_channels_are_kept(flipped: bool) -> None:
    shape = [5, 12] if flipped else [12, 5]
    weights = rng.integers(-2, 3, shape).astype(np.float32)
    graph = dense(shape, transpose_b=flipped)
    masks, plan = updated(graph, {"d/w": weights}, structure="2:4")
    along = weights if flipped else weights.T
    found = masks["d/w"] if flipped else masks["d/w"].T
    for row, kept in zip(along.reshape(-1, 4), found.reshape(-1, 4)):
        order = np.argsort(-np.abs(row), kind="stable")
        np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(order[:2]))
    assert plan.kernels[0].zeros == weights.size // 2


def test_padding_of_the_last_group_is_shown_and_never_kept() -> None:
    weights = rng.standard_normal((3, 3, 6, 4)).astype(np.float32)
    masks, plan = updated(convolution([3, 3, 6, 4]), {"c/w": weights}, structure="2:4")
    assert "padded by 2" in plan.describe()[0]
    kept = masks["c/w"].sum(2)
    assert (kept == 4).all() and masks["c/w"][:, :, 4:].all()
    assert plan.kernels[0].zeros == 3 * 3 * 2 * 4


@pytest.mark.parametrize("structure", ["2:4", "filters"])
def test_structure_that_does_not_fit_is_refused(structure: str) -> None:
    def build() -> Any:
        x = tf.placeholder(tf.float32, [1, 4, 4, 1], "x")
        h = tf.nn.conv2d(x, variable("thin/w", [3, 3, 1, 8]), 1, "SAME")
        h = tf.nn.depthwise_conv2d(h, variable("depth/w", [3, 3, 8, 1]), [1, 1, 1, 1], "SAME")
        return tf.nn.conv2d(h, variable("c/w", [1, 1, 8, 8]), 1, "SAME")

    graph = built(build, train=False)
    unfit = "'thin/w'" if structure == "2:4" else "'depth/w'"
    with pytest.raises(UsageError, match=f"does not fit {unfit}"):
        mask(graph, structure=structure)
    _, plan = mask(graph, structure=structure, exclude=("thin|depth",))
    assert [k.variable for k in plan.kernels] == ["c/w"]


def chain(group: Any = None) -> Graph:
    def build() -> Any:
        h = tf.placeholder(tf.float32, [2, 10], "x")
        with graphrev.prunable("early"):
            h = tf.tanh(tf.matmul(h, variable("a/w", [10, 20])))
            h = tf.tanh(tf.matmul(h, variable("b/w", [20, 5])))
        with graphrev.prunable():
            return tf.matmul(h, variable("c/w", [5, 4]))

    return built(build, train=False)


WEIGHTS = {
    "a/w": rng.standard_normal((10, 20)).astype(np.float32),
    "b/w": (rng.standard_normal((20, 5)) * 0.01).astype(np.float32),
    "c/w": rng.standard_normal((5, 4)).astype(np.float32),
}


def test_global_ranking_has_one_threshold_and_empties_no_kernel() -> None:
    masks, plan = updated(chain(), WEIGHTS, allocation="global", sparsity=0.5)
    assert sum((m == 0).sum() for m in masks.values()) == 160
    assert plan.to_json()["target_zeros"] == 160
    assert masks["b/w"].sum() == 1 and masks["b/w"].ravel()[np.abs(WEIGHTS["b/w"]).argmax()] == 1
    rest = np.concatenate([np.abs(WEIGHTS[n]).ravel() for n in ("a/w", "c/w")])
    kept = np.concatenate([masks[n].ravel() for n in ("a/w", "c/w")])
    assert rest[kept == 0].max() <= rest[kept == 1].min()
    masks, _ = updated(chain(), WEIGHTS, allocation="global", sparsity=0.5, allow_empty=True)
    assert sum((m == 0).sum() for m in masks.values()) == 160 and masks["b/w"].sum() == 0


def test_groups_are_ranked_apart() -> None:
    masks, plan = updated(chain(), WEIGHTS, allocation="groups", sparsity=0.5)
    assert [k.group for k in plan.kernels] == ["early", "early", ""]
    assert (masks["c/w"] == 0).sum() == 10
    assert (masks["a/w"] == 0).sum() + (masks["b/w"] == 0).sum() == 150


def test_joint_ranking_trains_to_the_exact_total() -> None:
    def build() -> Any:
        h = tf.placeholder(tf.float32, [2, 10], "x")
        for number in range(3):
            h = tf.tanh(tf.matmul(h, variable(f"l{number}/w", [10, 10], resource=number == 1)))
        return tf.reduce_sum(h)

    outcome, _ = mask(built(build), allocation="global", sparsity=0.9, frequency=1)
    session = Session(outcome.after)
    for _ in range(3):
        session.run("train", {"x:0": batch((2, 10))})
        assert sum(zeros(session).values()) == 270


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"structure": "4:2"}, "none of weights"),
        ({"structure": "0x1"}, "none of weights"),
        ({"structure": "2x2", "allocation": "global"}, "single weights only"),
        ({"targets": ("a:0.999",)}, "cannot be reached"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mask(chain(), **options)


def test_groups_need_names_and_one_type() -> None:
    with pytest.raises(UsageError, match="needs kernels built under prunable"):
        mask(dense([8, 6]), allocation="groups")

    def build() -> Any:
        x = tf.placeholder(tf.float64, [2, 4], "x")
        h = tf.matmul(x, variable("wide", [4, 4], dtype=tf.float64))
        return tf.matmul(tf.cast(h, tf.float32), variable("narrow", [4, 4]))

    with pytest.raises(UsageError, match="different types"):
        mask(built(build, train=False), allocation="global")


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_empty_kernels_are_made_only_when_asked_for(allocation: Any) -> None:
    weights = {"d/w": np.ones((1, 3), np.float32)}
    options = {"sparsity": 0.9, "allocation": allocation}
    assert updated(dense([1, 3]), weights, **options)[0]["d/w"].sum() == 1
    assert updated(dense([1, 3]), weights, allow_empty=True, **options)[0]["d/w"].sum() == 0
