"""Criteria and regrowth of kernels in loops, branches and parts: a reason, or exactly by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.io import checkpoints
from graphrev.ir import Graph
from graphrev.pipeline import Code
from tests.cli.runner import assert_refused, invoke
from tests.nets import snapshot, tf
from tests.passes.mask import by_hand
from tests.passes.mask.nets import Session, added, batch, built, mask, minimize, variable, zeros

X = {"x:0": batch((2, 4))}
NEEDS_GRADIENT = ({"criterion": "taylor"}, {"criterion": "movement"}, {"regrowth": "rigl"})


def inputs() -> Any:
    return tf.matmul(tf.placeholder(tf.float32, [2, 4], "x"), variable("u", [4, 4]))


def looped() -> Any:
    w, x = variable("w", [4, 4]), inputs()
    body = lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w)))  # noqa: E731
    return tf.reduce_sum(tf.while_loop(lambda i, h: i < 3, body, [0, x])[1])


def branched() -> Any:
    w, x = variable("w", [4, 4]), inputs()
    taken = tf.placeholder_with_default(True, [], "taken")
    return tf.reduce_sum(tf.cond(taken, lambda: tf.tanh(tf.matmul(x, w)), lambda: x))


def parted(parts: int = 2, axis: int = 0, resource: bool = False) -> Any:
    """Multiplied by twice."""
    split = tf.fixed_size_partitioner(parts, axis)
    with tf.variable_scope("", partitioner=split, use_resource=resource):
        start = tf.random_normal_initializer(stddev=0.3, seed=1)
        w = tf.get_variable("w", [4, 4], initializer=start)
    whole = tf.convert_to_tensor(w)
    return tf.reduce_sum(tf.tanh(tf.matmul(tf.tanh(tf.matmul(inputs(), whole)), whole)))


def looped_resource() -> Any:
    """Read in the body, in every iteration."""
    w, x = variable("w", [4, 4], resource=True), inputs()
    body = lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w)))  # noqa: E731
    return tf.reduce_sum(tf.while_loop(lambda i, h: i < 3, body, [0, x])[1])


def looped_twice() -> Any:
    w, x = variable("w", [4, 4]), inputs()
    inner = lambda i, h: (i + 1, tf.tanh(tf.matmul(h, w)))  # noqa: E731
    outer = lambda j, h: (j + 1, tf.while_loop(lambda i, h: i < 2, inner, [0, h])[1])  # noqa: E731
    return tf.reduce_sum(tf.while_loop(lambda j, h: j < 2, outer, [0, x])[1])


CASES = {"loop": looped, "branch": branched, "parts": parted}


def built_in(flow: str, build: Callable[[], Any], **options: Any) -> Graph:
    """The graph of ``build`` with control flow of TensorFlow 1 (v1) or 2 (v2)."""
    was = tf.control_flow_v2_enabled()
    (tf.disable_control_flow_v2 if flow == "v1" else tf.enable_control_flow_v2)()
    try:
        return built(build, **options)
    finally:
        (tf.enable_control_flow_v2 if was else tf.disable_control_flow_v2)()


@pytest.mark.parametrize("options", NEEDS_GRADIENT, ids=lambda o: next(iter(o.values())))
@pytest.mark.parametrize("case", ["loop", "branch"])
@pytest.mark.parametrize("flow", ["v1", "v2"])
def test_kernel_whose_gradient_is_not_plain_is_left_alone_with_a_reason(
    case: str, options: dict[str, Any], flow: str
) -> None:
    _, plan = mask(built_in(flow, CASES[case]), sparsity=0.5, end=9, **options)
    if (flow, case) == ("v1", "loop"):
        assert [kernel.variable for kernel in plan.kernels] == ["w", "u"]
        return
    assert [kernel.variable for kernel in plan.kernels] == ["u"]
    left = {r.nodes[0].partition("/")[0]: r for r in plan.rejections}
    assert set(left) == {"w"}
    asks = " ".join(f"{key}={value}" for key, value in options.items())
    if left["w"].code is Code.NO_GRADIENT:
        assert left["w"].reason.startswith(asks)
    else:
        assert flow == "v2"
        assert left["w"].code is Code.KERNEL_SHARED
        assert "Kernel 'w' is passed into a function by" in left["w"].reason


def slope(w: Any, u: Any, mask: Any, turns: int) -> Any:
    """The dense gradient of the summed result of so many turns, with respect to ``w``."""
    kernel, states = mask * w, [X["x:0"].astype(np.float64) @ u]
    for _ in range(turns):
        states.append(np.tanh(states[-1] @ kernel))
    found, above = np.zeros_like(w), np.ones_like(states[-1])
    for before, after in zip(states[-2::-1], states[:0:-1]):
        above = above * (1.0 - after**2)
        found, above = found + before.T @ above, above @ kernel.T
    return found


FIGURES = {
    "taylor": lambda old, product, mask: 0.9 * old + 0.1 * np.abs(mask * product),
    "movement": lambda old, product, mask: old - product,
}


@pytest.mark.parametrize("criterion", FIGURES)
@pytest.mark.parametrize(("build", "turns"), [(looped, 3), (looped_twice, 4)])
def test_gradient_that_leaves_a_loop_is_taken_exactly(
    build: Any, turns: int, criterion: str
) -> None:
    """Figure and mask after each of six steps, of loops and loops in loops (v1)."""
    graph = built_in("v1", build)
    session = Session(mask(graph, sparsity=0.5, frequency=2, criterion=criterion)[0].after)
    names = {key: added(session.graph, key)["w"] for key in ("mask", "score")}
    running = np.zeros((4, 4))
    for step in range(1, 7):
        w, u, m, mask_u = (
            session.value(name).astype(np.float64)
            for name in ("w", "u", names["mask"], added(session.graph, "mask")["u"])
        )
        running = FIGURES[criterion](running, w * slope(w, mask_u * u, m, turns), m)
        session.run("train", X)
        np.testing.assert_allclose(session.value(names["score"]), running, 1e-4, 1e-6)
        if step % 2 == 0:
            assert (session.value(names["mask"]) == by_hand.updated(running, 0.5)).all()


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize(("parts", "axis"), [(2, 0), (3, 0), (3, 1)])
@pytest.mark.parametrize("criterion", FIGURES)
def test_each_part_of_a_kernel_takes_its_own_part_of_the_gradient(
    criterion: str, parts: int, axis: int, resource: bool
) -> None:
    """Figures and masks of all parts after each of six steps."""
    graph = built_in("v1", lambda: parted(parts, axis, resource))
    session = Session(mask(graph, sparsity=0.5, frequency=2, criterion=criterion)[0].after)
    names = {key: added(session.graph, key) for key in ("mask", "score")}
    kernels = sorted(name for name in names["mask"] if name != "u")
    assert len(kernels) == parts

    def whole(of: Mapping[str, str]) -> Any:
        found = [session.value(of[name]).astype(np.float64) for name in kernels]
        return np.concatenate(found, axis)

    running = np.zeros((4, 4))
    for step in range(1, 7):
        w, m = whole({name: name for name in kernels}), whole(names["mask"])
        u = session.value("u").astype(np.float64) * session.value(names["mask"]["u"])
        running = FIGURES[criterion](running, w * slope(w, u, m, 2), m)
        session.run("train", X)
        np.testing.assert_allclose(whole(names["score"]), running, 1e-4, 1e-6)
        if step % 2 == 0:
            cuts = np.cumsum([session.value(name).shape[axis] for name in kernels])[:-1]
            wanted = [by_hand.updated(one, 0.5) for one in np.split(running, cuts, axis)]
            assert (whole(names["mask"]) == np.concatenate(wanted, axis)).all()


@pytest.mark.parametrize("case", ["loop", "parts"])
def test_rigl_grows_by_the_gradient_of_the_loop_or_of_the_part(case: str) -> None:
    graph = built_in("v1", CASES[case])
    spec = "rigl(drop_fraction=0.5,anneal=constant)"
    session = Session(mask(graph, sparsity=0.5, frequency=1, regrowth=spec)[0].after)
    masks = added(session.graph, "mask")
    parts = sorted(name for name in masks if name != "u")

    def values(of: Iterable[str]) -> list[Any]:
        return [session.value(name).astype(np.float64) for name in of]

    grown = 0
    for _ in range(8):
        w, before = np.concatenate(values(parts)), values(masks[name] for name in parts)
        u, mask_u = values(("u", masks["u"]))
        turns = 3 if case == "loop" else 2
        grow_by = np.abs(slope(w, mask_u * u, np.concatenate(before), turns))
        session.run("train", X)
        found = values(masks[name] for name in parts)
        for m, new, wish, after in zip(
            before, found, np.split(grow_by, len(parts)), values(parts), strict=True
        ):
            gained = (new > 0) & (m == 0)
            grown += gained.sum()
            assert (new == 0).sum() == new.size // 2
            if gained.any():
                assert wish[gained].min() >= wish[(new == 0) & (m == 0)].max(initial=0.0)
                assert (after[gained] == 0).all()
    assert grown


def test_resource_that_is_read_in_the_loop_is_left_alone_with_a_reason() -> None:
    graph = built_in("v1", looped_resource)
    _, plan = mask(graph, criterion="taylor")
    assert [kernel.variable for kernel in plan.kernels] == ["u"]
    (left,) = plan.rejections
    assert (left.code, left.nodes) == (Code.NO_GRADIENT, ("w",))
    assert "read in loops or branches alone" in left.reason


def nested(resource: bool = False) -> Any:
    """Multiplied by in a branch in a loop, read there where it is a resource."""
    w, x = variable("w", [4, 4], resource=resource), inputs()
    inner = lambda h: tf.cond(h[0, 0] > 0, lambda: tf.tanh(tf.matmul(h, w)), lambda: h)  # noqa: E731
    body = lambda i, h: (i + 1, inner(h))  # noqa: E731
    return tf.reduce_sum(tf.while_loop(lambda i, h: i < 3, body, [0, x])[1])


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_kernel_of_functions_alone_has_a_reason(train: bool, resource: bool) -> None:
    graph = built_in("v2", lambda: nested(resource), train=train)
    _, plan = mask(graph, sparsity=0.5)
    assert [kernel.variable for kernel in plan.kernels] == ["u"]
    (left,) = plan.rejections
    assert (left.code, left.nodes[0]) == (Code.KERNEL_SHARED, "w")
    assert graph[left.nodes[1]].op in ("While", "StatelessWhile")


@pytest.mark.parametrize("case", CASES)
def test_set_needs_no_gradient_and_exchanges_as_many_as_it_drops(case: str) -> None:
    graph = built_in("v1", CASES[case])
    spec = "set(drop_fraction=0.5)"
    session = Session(mask(graph, sparsity=0.5, frequency=1, end=9, regrowth=spec)[0].after)
    seen: list[Any] = []
    for _ in range(4):
        session.run("train", X)
        assert set(zeros(session).values()) == ({4, 8} if case == "parts" else {8})
        names = added(session.graph, "mask")
        seen.append(np.concatenate([session.value(n) for k, n in names.items() if k[0] == "w"]))
    assert not np.array_equal(seen[1], seen[-1])


def trained(spec: str, folder: Path, steps: int) -> tuple[str, Any]:
    """A masked graph's file and, where steps are run, its checkpoint and masks."""
    with tf.Graph().as_default() as graph:
        w = variable("l/w", [4, 4], resource=True)
        minimize(tf.reduce_sum(tf.matmul(tf.placeholder(tf.float32, [2, 4], "x"), w)))
        before = graphrev.rewrite(snapshot(graph), [])
    path = folder / f"{len(spec)}.pb"
    graphrev.rewrite(before.graph_def, spec).save(path)
    session = Session(graphrev.load(path).graph)
    for _ in range(steps):
        session.run("train", X)
    if steps:
        session.run("save/control_dependency:0", {"save/Const:0": str(folder / "model")})
    return str(path), session


OPTIONS = "sparsity=0.5,frequency=1,first=masked,last=masked"


def test_checkpoint_of_magnitude_starts_a_taylor_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The masks go on; what the criterion remembers starts at 0. Unconverted, TensorFlow names
    the variable that is missing."""
    _, old = trained(f"mask{{{OPTIONS}}}", tmp_path, 3)
    taylor, new = trained(f"mask{{{OPTIONS},criterion=taylor}}", tmp_path, 0)
    with pytest.raises(tf.errors.NotFoundError, match="l/score not found in checkpoint"):
        new.run("save/restore_all", {"save/Const:0": str(tmp_path / "model")})
    call = ("checkpoint", tmp_path / "model", "-g", taylor, "--to", "masked", "-o")
    assert invoke(capsys, *call, tmp_path / "start").code == 0
    new.run("save/restore_all", {"save/Const:0": str(tmp_path / "start")})
    for name in ("l/w", "l/mask", "global_step"):
        np.testing.assert_array_equal(new.value(name), old.value(name))
    assert not new.value("l/score").any()
    new.run("train", X)
    assert (new.value("l/mask") == 0).sum() == 8 and new.value("l/score").any()
    again = ("checkpoint", tmp_path / "start", "-g", taylor, "--to", "masked", "-o")
    assert_refused(invoke(capsys, *again, tmp_path / "twice"), 2, "holds masks already")


def test_checkpoint_of_taylor_restores_into_a_magnitude_graph(tmp_path: Path) -> None:
    _, old = trained(f"mask{{{OPTIONS},criterion=taylor}}", tmp_path, 3)
    _, new = trained(f"mask{{{OPTIONS}}}", tmp_path, 0)
    assert "l/score" in checkpoints.read_checkpoint(tmp_path / "model")
    new.run("save/restore_all", {"save/Const:0": str(tmp_path / "model")})
    np.testing.assert_array_equal(new.value("l/mask"), old.value("l/mask"))
