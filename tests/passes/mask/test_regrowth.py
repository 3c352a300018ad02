"""Regrowth against numpy: what grows, what it starts with, and that the count stays exact."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.errors import UsageError
from graphrev.passes import Mask
from graphrev.passes.mask.regrowth import SET, NoRegrowth, RigL
from graphrev.pipeline import Code
from graphrev.pipeline.spec import parse_pass
from tests.nets import snapshot, tf
from tests.passes.mask import by_hand, linear
from tests.passes.mask.nets import built, convolutions, mask
from tests.passes.mask.oracle import under_tensorflow_1
from tests.passes.mask.test_criteria import net, ran

END = 8
OPTIMIZERS = {"momentum": by_hand.momentum, "adam": by_hand.adam}


def drawn(name: str, step: int) -> Any:
    """What SET draws, by TensorFlow's own stateless generator."""
    seed = [zlib.crc32(name.encode()) << 16, step]
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(tf.random.stateless_uniform(linear.SHAPES[name], seed))


def fraction(step: int, first: float = 0.5) -> float:
    return first / 2 * (1 + math.cos(math.pi * min(max(step - 2, 0), END - 2) / (END - 2)))


def rule(name: str, grow_by: Callable[[str, int], Any]) -> Any:
    @by_hand.growing
    def new_mask(old: Any, w: Any, running: Any, step: int) -> Any:
        if step > END:
            return old
        return by_hand.exchanged(old, np.abs(w), grow_by(name, step), 0.4, fraction(step))

    return new_mask


GROW = {"set": drawn, "rigl": lambda name, step: np.abs(linear.slope(name, step))}


def check(found: Any, name: str, regrowth: str, optimizer: str) -> None:
    wanted = by_hand.trained(
        name, lambda old, product, mask: old, rule(name, GROW[regrowth]), OPTIMIZERS[optimizer]
    )
    np.testing.assert_array_equal(found[f"{name}/mask"], wanted.pop("mask"))
    np.testing.assert_allclose(found[name], wanted.pop("w"), 1e-6, 1e-9)
    del wanted["score"]
    for slot, values in wanted.items():
        np.testing.assert_allclose(found[f"{name}/{slot}"], values, 1e-6, 1e-9)


@pytest.mark.parametrize("regrowth", GROW)
@pytest.mark.parametrize(("optimizer", "resource"), [("momentum", False), ("adam", True)])
def test_growth_is_as_by_hand(regrowth: str, optimizer: str, resource: bool) -> None:
    """Masks, weights and slots after each of nine steps; none changes after the end."""
    spec = f"regrowth={regrowth}(drop_fraction=0.5),end={END}"
    found = ran(net(optimizer, resource), spec)
    for name in linear.SHAPES:
        check(found, name, regrowth, optimizer)
        dropped = found[f"{name}/mask"][1:] == 0
        assert (dropped.reshape(8, -1).sum(1) == 12).all()
    assert (np.diff(found["plain/mask"][1:], axis=0) > 0).any()


@pytest.mark.oracle
def test_growth_is_as_by_hand_under_tensorflow_1(tmp_path: Path) -> None:
    child = under_tensorflow_1(linear, tmp_path)
    child("build")
    common = f"sparsity=0.4,begin=2,frequency=2,end={END},first=masked,last=masked"
    for regrowth in GROW:
        spec = f"mask{{{common},regrowth={regrowth}(drop_fraction=0.5)}}"
        graphrev.rewrite(tmp_path / "linear.pb", spec).save(tmp_path / f"{regrowth}.masked.pb")
    child("train")
    for regrowth in GROW:
        found = np.load(tmp_path / f"{regrowth}.masked.pb.npz")
        for name in linear.SHAPES:
            check(found, name, regrowth, "momentum")


def test_constant_share_needs_no_end_and_a_rising_schedule_stays_exact() -> None:
    found = ran(net(), "regrowth=set(anneal=constant,seed=2)")
    assert (found["plain/mask"][-1] == 0).sum() == 12
    assert not np.array_equal(found["plain/mask"][5], found["plain/mask"][7])
    rising = ran(net(), f"regrowth=rigl,schedule=linear,end={END},criterion=taylor")
    counts = (rising["plain/mask"] == 0).reshape(linear.STEPS, -1).sum(1)
    assert counts.tolist() == [0, 0, 0, 4, 4, 8, 8, 12, 12]


def test_seed_changes_what_set_draws() -> None:
    first, second = (ran(net(), f"regrowth=set(seed={n}),end={END}")["plain/mask"] for n in (0, 1))
    assert not np.array_equal(first, second)


def test_graph_that_nothing_trains_is_left_alone_with_a_reason() -> None:
    for regrowth in ("set", "rigl"):
        _, plan = mask(built(convolutions, train=False), regrowth=regrowth, end=9)
        assert not plan.kernels
        assert {r.code for r in plan.rejections} == {Code.NO_GRADIENT}


def test_slots_of_squares_keep_their_value() -> None:
    """Adagrad divides by its slot: a slot of 0 would be a division by 0."""
    with tf.Graph().as_default() as graph:
        loss = convolutions()
        step = tf.train.get_or_create_global_step()
        tf.train.AdagradOptimizer(0.1).minimize(loss, global_step=step, name="train")
        before = snapshot(graph)
    _, plan = mask(before, regrowth="rigl", end=9)
    assert plan.kernels and not any(k.signals.slots for k in plan.kernels)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("none", NoRegrowth()),
        ("set(seed=3)", SET(seed=3)),
        ("rigl", RigL()),
        ("rigl(drop_fraction=0.1,anneal=constant)", RigL(0.1, "constant")),
    ],
)
def test_policies_are_spelled_and_spell_themselves(text: str, made: Any) -> None:
    parsed = parse_pass(f"mask{{regrowth={text},end=5}}", {"mask": Mask})
    assert parsed.regrowth == made
    assert type(made).parse(str(made)) == made


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("regrowth=rigl", "needs end=STEP"),
        ("regrowth=rigl(drop_fraction=1.5),end=5", "between 0 and 1"),
        ("regrowth=rigl(anneal=never),end=5", "cannot be 'never'"),
        ("regrowth=set,end=5,structure=2x2", "exchanges single weights"),
        ("regrowth=set,end=5,allocation=global", "exchanges single weights"),
        ("regrowth=ste", "no regrowth 'ste'. Did you mean 'set'"),
    ],
)
def test_wrong_policies_are_named(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_pass(f"mask{{{spec}}}", {"mask": Mask})
