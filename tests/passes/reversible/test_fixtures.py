"""Every graph that TensorFlow 1.15 wrote: the pairs found, and the same training afterwards."""

from __future__ import annotations

from typing import Any

import pytest

import graphrev
from graphrev.passes.reversible import ReversiblePlan
from tests.conftest import FIXTURES, INDEX

QUICK = [name for name in INDEX if name != "bench"]
WAYS = [
    (name, way)
    for name in QUICK
    for way in (("marked", "structural") if INDEX[name]["marked"] else ("structural",))
]


def rewrite(name: str, options: str) -> tuple[graphrev.Rewritten, ReversiblePlan]:
    result = graphrev.rewrite(FIXTURES / INDEX[name]["file"], f"reversible{{{options}}}")
    plan = result.report.steps[0].plan
    assert isinstance(plan, ReversiblePlan)
    return result, plan


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_pairs_are_found_and_training_stays_the_same(name: str, way: str) -> None:
    result, plan = rewrite(name, f"detect={way}")
    pairs = sum((len(block.halves) + 1) // 2 for block in plan.blocks)
    pairs += sum(loop.pairs for loop in plan.loops)
    assert pairs == INDEX[name]["pairs"], [(r.code.value, r.reason) for r in plan.rejections]
    if not pairs:
        assert not result.changed
        return
    outcome = graphrev.verify(FIXTURES / INDEX[name]["file"], result)
    assert outcome.ok, outcome.to_text()
    assert {c.kind for c in outcome.comparisons} >= {"gradient", "variable"}
    assert outcome.drifts


@pytest.mark.parametrize("options", ["random=save", "random=stateless"])
def test_dropout_is_exact_whether_tensors_or_seeds_are_saved(options: str) -> None:
    result, _ = rewrite("dropout", options)
    outcome = graphrev.verify(FIXTURES / INDEX["dropout"]["file"], result)
    assert outcome.ok, outcome.to_text()
    random = [n for n in result.model.graph.nodes.values() if n.op == "StatelessRandomUniform"]
    assert bool(random) == (options == "random=stateless")


@pytest.mark.parametrize("every", [1, 2, 3])
def test_anchors_bound_the_drift_and_cost_what_the_plan_says(every: int) -> None:
    _, plan = rewrite("bench", f"detect=structural,anchor_every={every}")
    (block,) = plan.blocks
    stream = 64 * 32 * 32 * 32 * 4
    assert block.saved_bytes == len(block.saved) * stream
    states = 16 // every if every > 1 else 17
    assert len(block.saved) <= 2 * states
    free, _ = rewrite("bench", "detect=structural")
    assert plan.blocks[0].drift <= free.report.steps[0].plan.blocks[0].drift / 16 * every


def test_max_drift_chooses_anchors_that_keep_the_estimate_below_it() -> None:
    _, plan = rewrite("bench", "detect=structural,max_drift=2e-6")
    (block,) = plan.blocks
    assert 0 < block.drift <= 2e-6
    assert block.saved


def test_second_run_changes_nothing(tmp_path: Any) -> None:
    result, _ = rewrite("revnet", "detect=marked")
    again = graphrev.rewrite(result.model, "reversible")
    assert not again.changed
    assert {r.code.value for r in again.report.rejections} == {"already_rewritten"}


def test_result_knows_only_ops_of_tensorflow_1() -> None:
    from graphrev.analysis.ops import known_to_tf1

    for options in ("detect=structural", "detect=structural,random=stateless"):
        for name in ("dropout", "revnet_ref", "sums"):
            result, _ = rewrite(name, options)
            assert all(known_to_tf1(node.op) for node in result.model.graph.nodes.values())


def test_same_input_gives_the_same_bytes() -> None:
    from graphrev.io import encode_graph

    first, second = (encode_graph(rewrite("revnet", "")[0].model.graph) for _ in range(2))
    assert first == second
