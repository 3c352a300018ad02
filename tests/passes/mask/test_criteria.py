"""Criteria against numpy, on a net whose gradients are known by hand."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.errors import UsageError
from graphrev.passes import Mask
from graphrev.passes.mask.criteria import BatchNormScale, Magnitude, Movement, Random, Taylor
from graphrev.pipeline import Code
from graphrev.pipeline.spec import parse_pass
from tests.nets import snapshot, tf
from tests.passes.mask import by_hand, linear
from tests.passes.mask.nets import Session, built, mask, minimize, variable
from tests.passes.mask.oracle import under_tensorflow_1

OPTIONS = "sparsity=0.4,begin=2,frequency=2,first=masked,last=masked"
FIGURES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "taylor": lambda old, product, mask: 0.9 * old + 0.1 * np.abs(mask * product),
    "taylor(decay=0.5)": lambda old, product, mask: 0.5 * old + 0.5 * np.abs(mask * product),
    "movement": lambda old, product, mask: old - product,
}


def net(optimizer: str = "momentum", resource: bool = True, dtype: Any = tf.float64) -> Any:
    with tf.Graph().as_default() as graph:
        linear.program(optimizer, resource, dtype)
        return snapshot(graph)


def ran(graph: Any, spec: str) -> Any:
    result = graphrev.rewrite(graph, f"mask{{{OPTIONS},{spec}}}")
    return linear.run(tf.GraphDef.FromString(result.graph_def.SerializeToString()))


def by_figure(name: str, figure: Callable[[Any, Any, Any], Any]) -> dict[str, Any]:
    return by_hand.trained(
        name, figure, lambda mask, w, running, step: by_hand.updated(running, 0.4)
    )


def check(found: Any, name: str, wanted: dict[str, Any]) -> None:
    np.testing.assert_allclose(found[f"{name}/score"], wanted["score"], 1e-10, 1e-12)
    np.testing.assert_array_equal(found[f"{name}/mask"], wanted["mask"])
    np.testing.assert_allclose(found[name], wanted["w"], 1e-10, 1e-12)


@pytest.mark.parametrize("criterion", FIGURES)
@pytest.mark.parametrize("resource", [True, False])
def test_running_criteria_are_as_by_hand(criterion: str, resource: bool) -> None:
    """Kernels read plainly, transposed, reshaped and twice, after each of nine steps."""
    found = ran(net(resource=resource), f"criterion={criterion}")
    for name in linear.SHAPES:
        check(found, name, by_figure(name, FIGURES[criterion]))


@pytest.mark.oracle
def test_running_criteria_are_as_by_hand_under_tensorflow_1(tmp_path: Path) -> None:
    child = under_tensorflow_1(linear, tmp_path)
    child("build")
    specs = {**FIGURES, "random(seed=3)": None}
    for number, criterion in enumerate(specs):
        result = graphrev.rewrite(
            tmp_path / "linear.pb", f"mask{{{OPTIONS},criterion={criterion}}}"
        )
        result.save(tmp_path / f"{number}.masked.pb")
    child("train")
    for number, figure in enumerate(specs.values()):
        found = np.load(tmp_path / f"{number}.masked.pb.npz")
        for name in linear.SHAPES:
            if figure is None:
                assert (found[f"{name}/mask"][1:] == 0).sum() == 8 * round(30 * 0.4)
            else:
                check(found, name, by_figure(name, figure))


def test_random_draws_by_seed_and_kernel_and_keeps_its_choice() -> None:
    graph = net()
    runs = [ran(graph, f"criterion=random(seed={seed})") for seed in (1, 1, 2)]
    first, same, other = (run["plain/mask"] for run in runs)
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert all(np.array_equal(first[1], later) for later in first[2:])
    assert not np.array_equal(first[1], runs[0]["twice/mask"][1])
    seed = [1, zlib.crc32(b"plain")]
    with tf.Graph().as_default(), tf.Session() as session:
        drawn = session.run(tf.random.stateless_uniform([6, 5], seed))
    np.testing.assert_array_equal(first[1], by_hand.updated(drawn, 0.4))


def test_scores_are_ranked_across_kernels_together() -> None:
    found = ran(net(), "criterion=movement,allocation=global,allow_empty=true")
    scores = [found[f"{name}/score"][-2] for name in linear.SHAPES]
    kept = by_hand.updated(np.concatenate([s.ravel() for s in scores]), 0.4)
    masks = [found[f"{name}/mask"][-1].ravel() for name in linear.SHAPES]
    np.testing.assert_array_equal(np.concatenate(masks), kept)


def test_blocks_are_ranked_by_their_mean_score() -> None:
    options = {"sparsity": 0.3, "frequency": 1, "criterion": "taylor", "structure": "2x5"}
    graph = built(
        lambda: tf.reduce_sum(
            tf.matmul(tf.placeholder(tf.float32, [3, 6], "x"), variable("w", [6, 5]))
        )
    )
    session = Session(mask(graph, **options)[0].after)
    session.run("train", {"x:0": np.array([[9, 9, 1, 1, 1, 1]] * 3, np.float32)})
    scores = np.abs(session.value("score")).reshape(3, 2, 5).mean((1, 2))
    kept = session.value("mask")[::2, 0]
    assert kept.sum() == 2 and kept[np.argmin(scores)] == 0


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_kernels_have_float32_figures(dtype: Any) -> None:
    found = ran(net(dtype=dtype), "criterion=taylor")
    assert found["plain/score"].dtype == np.float32
    assert found["plain/mask"].dtype == dtype.as_numpy_dtype
    assert (found["flat/mask"][-1] == 0).sum() == 12


def test_overflow_of_a_step_leaves_the_figures_finite() -> None:
    graph = built(
        lambda: tf.reduce_sum(
            tf.matmul(tf.placeholder(tf.float32, [1, 4], "x"), variable("w", [4, 4]))
        )
    )
    session = Session(mask(graph, sparsity=0.5, criterion="taylor", begin=5)[0].after)
    session.run("train", {"x:0": np.array([[np.inf, 1, 2, 3]], np.float32)})
    assert np.isfinite(session.value("score")).all()


def norms(fused: bool = True) -> Any:
    """Two convolutions with batch norm, and one without."""
    h = tf.placeholder(tf.float32, [2, 5, 5, 3], "x")
    for name, scale in (("a", [3.0, -1.0, 2.0, 0.5]), ("b", [0.1, 5.0, -4.0, 0.2])):
        h = tf.nn.conv2d(h, variable(f"{name}/w", [3, 3, h.shape[3], 4]), 1, "SAME")
        h = tf.nn.bias_add(h, tf.get_variable(f"{name}/bias", [4]))
        gamma = tf.get_variable(f"{name}/gamma", [4], initializer=tf.constant_initializer(scale))
        h = tf.nn.relu(tf.nn.fused_batch_norm(h, gamma, tf.zeros([4]))[0])
    return tf.reduce_sum(tf.nn.conv2d(h, variable("c/w", [3, 3, 4, 4]), 1, "SAME"))


@pytest.mark.parametrize("what", [{"structure": "filters"}, {"granularity": "channel"}])
def test_filters_are_ranked_by_their_batch_norm(what: dict[str, str]) -> None:
    options = {"sparsity": 0.5, "criterion": "bn-scale", **what}
    outcome, plan = mask(built(norms, train=False), **options)
    (left,) = plan.rejections
    assert (left.code, left.nodes) == (Code.NO_BATCH_NORM, ("c/w",))
    session = Session(outcome.after)
    session.run("model_pruning/mask_update")
    for name, kept in (("a", [1, 0, 1, 0]), ("b", [0, 1, 1, 0])):
        found = session.value(f"{name}/mask")
        np.testing.assert_array_equal(found, np.ones_like(found) * kept)


def test_graph_without_gradients_is_left_alone_with_a_reason() -> None:
    for criterion in ("taylor", "movement"):
        _, plan = mask(built(norms, train=False), criterion=criterion)
        assert not plan.kernels
        assert {r.code for r in plan.rejections} == {Code.NO_GRADIENT}
        assert all(f"criterion={criterion} needs the gradient" in r.reason for r in plan.rejections)


def test_figures_are_saved_converted_and_stripped(tmp_path: Path) -> None:
    graph = built(
        lambda: tf.reduce_sum(
            tf.matmul(tf.placeholder(tf.float32, [1, 4], "x"), variable("l/w", [4, 4]))
        )
    )
    after = mask(graph, sparsity=0.5, criterion="taylor", frequency=1)[0].after
    session = Session(after)
    session.run("train", {"x:0": np.ones((1, 4), np.float32)})
    prefix = {"save/Const:0": str(tmp_path / "c")}
    session.run("save/control_dependency:0", prefix)
    before = session.value("l/score")
    session.assign("l/score", np.zeros((4, 4), np.float32))
    session.run("save/restore_all", prefix)
    np.testing.assert_array_equal(session.value("l/score"), before)

    from graphrev.io import checkpoints
    from graphrev.passes.mask.checkpoints import MaskedGraph

    values = checkpoints.read_checkpoint(str(tmp_path / "c"))
    about = MaskedGraph(after)
    dense = about.dense(values)
    assert "l/score" in values and not {"l/score", "l/mask"} & set(dense)
    assert not about.masked(dense, "ones")["l/score"].any()
    stripped = graphrev.rewrite(after, "strip-masks").model.graph
    assert set(stripped.nodes) == set(graph.nodes)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("magnitude", Magnitude()),
        ("random(seed=4)", Random(4)),
        ("taylor( decay = 0.25 )", Taylor(0.25)),
        ("movement()", Movement()),
        ("bn-scale", BatchNormScale()),
    ],
)
def test_criteria_are_spelled_and_spell_themselves(text: str, made: Any) -> None:
    structure = ",structure=filters" if made.by_filter else ""
    parsed = parse_pass(f"mask{{criterion={text}{structure}}}", {"mask": Mask})
    assert parsed.criterion == made
    assert type(made).parse(str(made)) == made and hash(made) == hash(parsed.criterion)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("criterion=tailor", "no criterion 'tailor'. Did you mean 'taylor'"),
        ("criterion=taylor(speed=1)", "The criterion 'taylor' has no option 'speed'"),
        ("criterion=taylor(decay=1)", "at least 0 and below 1"),
        ("criterion=random(seed=x)", "takes an int"),
        ("criterion=bn-scale", "structure=filters"),
        ("criterion=", "no criterion"),
    ],
)
def test_wrong_criteria_are_named(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        parse_pass(f"mask{{{spec}}}", {"mask": Mask})


def test_magnitude_adds_what_it_always_did() -> None:
    def nodes(**options: Any) -> list[str]:
        after = mask(built(lambda: (minimize, norms())[1]), **options)[0].after
        return list(after.nodes)

    assert nodes() == nodes(criterion="magnitude", regrowth="none")
