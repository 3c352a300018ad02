"""The sensitivity scan: losses as numpy computes them, and targets that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.errors import UsageError
from graphrev.ir import Graph
from graphrev.passes.mask.checkpoints import MaskedGraph
from graphrev.verification.sensitivity import KernelSensitivity, Sensitivity, scan, without_smallest
from tests.nets import snapshot, tf

draw = np.random.default_rng(3)
X, A, B = (draw.standard_normal(shape).astype("float32") for shape in ((4, 6), (6, 5), (5, 3)))


def net(frozen: bool, resource: bool = True) -> Graph:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 6], "x")
        values = {"a": A, "b": B}
        if frozen:
            weights = [tf.constant(value, name=name) for name, value in values.items()]
        else:
            weights = [
                tf.get_variable(
                    name, value.shape, tf.float32, tf.zeros_initializer(), use_resource=resource
                )
                for name, value in values.items()
            ]
        tf.square(tf.matmul(tf.tanh(tf.matmul(x, weights[0])), weights[1]), name="loss")
        return snapshot(graph)


def loss(a: Any, b: Any) -> float:
    return float(np.mean(np.square(np.tanh(X @ a) @ b)))


@pytest.mark.parametrize("kind", ["frozen", "resource", "reference"])
def test_losses_are_those_of_the_pruned_net(kind: str) -> None:
    graph = net(kind == "frozen", kind == "resource")
    values = None if kind == "frozen" else {"a": A, "b": B}
    told: list[tuple[int, int]] = []
    found = scan(
        graph, "loss", feeds={"x": X}, variables=values, progress=lambda *at: told.append(at)
    )
    assert found.levels == tuple(n / 10 for n in range(10))
    assert [k.kernel for k in found.kernels] == ["a", "b"]
    np.testing.assert_allclose(found.dense, loss(A, B), 1e-5)
    for place, level in enumerate(found.levels):
        np.testing.assert_allclose(
            [k.losses[place] for k in found.kernels],
            [loss(without_smallest(A, level), B), loss(A, without_smallest(B, level))],
            1e-5,
        )
    assert told[-1] == (20, 20)


def test_smallest_go_first_and_ties_in_index_order() -> None:
    np.testing.assert_array_equal(
        without_smallest(np.array([[3, -1], [1, 2]]), 0.25), [[3, 0], [1, 2]]
    )
    np.testing.assert_array_equal(without_smallest(np.ones(4), 0.9), [0, 0, 0, 1])


def made(*losses: tuple[float, ...], sizes: tuple[int, ...] = (10, 10)) -> Sensitivity:
    kernels = (
        KernelSensitivity(f"k{place}", (size,), values)
        for place, (values, size) in enumerate(zip(losses, sizes))
    )
    return Sensitivity("loss", 1.0, (0.0, 0.4, 0.8), tuple(kernels))


def test_targets_share_the_rise_of_the_loss() -> None:
    """k0 rises by 1 a level, k1 by 3: at a common rise of 1.5 they stand at 0.6 and 0.2."""
    found = made((1.0, 2.0, 3.0), (1.0, 4.0, 7.0)).targets(0.4)
    assert found == pytest.approx({"k0": 0.6, "k1": 0.2}, abs=1e-6)


def test_targets_take_what_costs_nothing_and_reach_the_last_level() -> None:
    found = made((1.0, 1.0, 1.0), (1.0, 4.0, 7.0)).targets(0.5)
    assert found == pytest.approx({"k0": 0.8, "k1": 0.2}, abs=1e-6)
    assert made((1.0, 0.5, 9.0), (1.0, 4.0, 7.0)).targets(0.8) == pytest.approx(
        {"k0": 0.8, "k1": 0.8}, abs=1e-6
    )


def test_targets_out_of_reach_are_refused() -> None:
    with pytest.raises(UsageError, match=r"goes up to 0\.8"):
        made((1.0, 2.0, 3.0), (1.0, 4.0, 7.0)).targets(0.9)
    with pytest.raises(UsageError, match="'k1' is not finite"):
        made((1.0, 2.0, 3.0), (1.0, float("nan"), 7.0)).targets(0.5)


def test_targets_are_met_by_the_mask_pass(tmp_path: Any) -> None:
    import json

    graph = net(False)
    found = scan(graph, "loss", feeds={"x": X}, variables={"a": A, "b": B})
    (tmp_path / "targets.json").write_text(json.dumps(found.to_json(0.5)))
    result = graphrev.rewrite(graph, f"mask{{targets={tmp_path / 'targets.json'}}}")
    zeros = {mask.kernel: mask.zeros for mask in MaskedGraph(result.model.graph).masks}
    assert zeros == {
        name: round(size * share)
        for (name, share), size in zip(found.targets(0.5).items(), (30, 15))
    }
    assert sum(zeros.values()) in (22, 23)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "nothing"}, "no tensor 'nothing'"),
        ({"levels": (0.5, 1.0)}, "below 1"),
        ({"levels": ()}, "below 1"),
        ({"loss": "x"}, "depends on no kernel"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], said: str) -> None:
    given = {"loss": "loss", "feeds": {"x": X}, **options}
    with pytest.raises(UsageError, match=said):
        scan(net(True), **given)
