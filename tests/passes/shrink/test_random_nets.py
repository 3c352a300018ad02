"""Random nets with random dead filters: the same outputs, and every channel that can go is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.passes.shrink.nets import Net, built, shapes, shrunk, tf

_ACTIVATIONS = {
    "relu": tf.nn.relu, "tanh": tf.tanh, "elu": tf.nn.elu, "none": tf.identity,
    "sigmoid": tf.sigmoid,
}  # fmt: skip
LAYER = st.fixed_dictionaries(
    {
        "width": st.integers(2, 9),
        "dead": st.sets(st.integers(0, 8), max_size=5),
        "size": st.sampled_from([1, 3]),
        "padding": st.sampled_from(["SAME", "VALID"]),
        "after": st.sampled_from(["norm", "bias", "none"]),
        "activation": st.sampled_from(sorted(_ACTIVATIONS)),
        "join": st.sampled_from(
            ["chain", "chain", "residual", "concat", "depthwise", "pool", "pad"]
        ),
    }
)


def grown(net: Net, x: Any, layers: list[dict[str, Any]]) -> Any:
    for number, layer in enumerate(layers):
        join = layer["join"]
        width = net.width(x) if join == "residual" and number else layer["width"]
        padding = "SAME" if join == "residual" else layer["padding"]
        dead = [place for place in layer["dead"] if place < width]
        y = net.conv(x, width, dead, layer["size"], padding, name=f"c{number}")
        if join == "depthwise":
            y = tf.nn.depthwise_conv2d_native(y, net.kernel([3, 3, width, 1]), [1] * 4, "SAME")
        y = {"norm": net.norm, "bias": net.bias, "none": tf.identity}[layer["after"]](y)
        if join == "residual" and number:
            y = x + y
        if join == "concat" and number and padding == "SAME":
            y = tf.concat([x, y], 3)
        if join == "pool":
            y = tf.nn.max_pool2d(y, 2, 1, "SAME")
        x = _ACTIVATIONS[layer["activation"]](y)
        if join == "pad":
            x = tf.pad(x, [[0, 0], [1, 0], [2, 1], [0, 0]])
    return net.dense(tf.reduce_mean(x, [1, 2]), 4, name="head")


def check(layers: list[dict[str, Any]], seed: int) -> None:
    before = built(lambda net, x: grown(net, x, layers), (None, 16, 16, 3), seed=seed)
    after, plan = shrunk(before)
    found = shapes(after)
    dims, given_ = {name: found[name] for name in shapes(before)}, shapes(before)
    assert all(a <= b for name in dims for a, b in zip(dims[name], given_[name]))
    if all(layer["join"] in ("chain", "pool") for layer in layers):
        dead = sum(len([d for d in y["dead"] if d < y["width"]]) for y in layers)
        kept = sum(
            int(r.reason.split()[0]) for r in plan.rejections if r.code.value == "channels_kept"
        )
        coupled = [r for r in plan.rejections if r.code.value == "channels_coupled"]
        assert plan.removed + kept >= dead - _passing(coupled)
        assert all("filters" in r.reason or "input" in r.reason for r in plan.rejections)


def _passing(rejections: list[Any]) -> int:
    return sum(int(r.reason.split()[0]) for r in rejections)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(LAYER, min_size=1, max_size=4), st.integers(0, 99))
def test_random_nets_compute_the_same(layers: list[dict[str, Any]], seed: int) -> None:
    check(layers, seed)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(LAYER, min_size=1, max_size=6), st.integers(0, 999))
def test_many_random_nets_compute_the_same(layers: list[dict[str, Any]], seed: int) -> None:
    check(layers, seed)


def test_every_dead_filter_of_a_chain_goes() -> None:
    """Where nothing but zeros follows (no bias, no norm) no channel has to stay."""
    rng = np.random.RandomState(0)
    for _ in range(5):
        widths = rng.randint(3, 12, 4)
        dead = [sorted(rng.choice(w, rng.randint(0, w - 1), replace=False)) for w in widths]

        def net(net: Net, x: Any, widths: Any = widths, dead: Any = dead) -> Any:
            for number, (width, gone) in enumerate(zip(widths, dead)):
                x = tf.nn.relu(net.conv(x, int(width), gone, name=f"c{number}"))
            return net.conv(x, 4, name="head")

        after, plan = shrunk(built(net))
        assert plan.removed == sum(map(len, dead))
        assert not plan.rejections
        last = 3
        for number, (width, gone) in enumerate(zip(widths, dead)):
            assert shapes(after)[f"c{number}/w"] == [3, 3, last, width - len(gone)]
            last = int(width) - len(gone)
