"""Every reason to leave a region alone, and that it is then left exactly as it was."""

from __future__ import annotations

from typing import Any

import pytest

from graphrev.errors import UsageError
from graphrev.ir import Graph
from graphrev.marks import no_rewrite, recompute_scope
from graphrev.passes import REGISTRY
from graphrev.passes.recompute import RecomputePlan
from graphrev.pipeline.spec import parse_pass
from tests.nets import dense, tf
from tests.passes.recompute.nets import assert_same_bits, chain, residual, rewrite, trained


def refusals(graph: Graph, **options: Any) -> list[str]:
    """The codes by which a graph is left alone as a whole."""
    outcome, plan = rewrite(graph, **options)
    assert outcome.after is graph
    return [rejection.code.value for rejection in plan.rejections]


def test_a_stateful_op_whose_result_is_needed_again_is_refused() -> None:
    def printed(x: Any, name: str) -> Any:
        return residual(tf.Print(residual(x, f"{name}_a"), []), name)

    assert refusals(chain(printed)) == ["stateful_op"] * 3


def test_a_forward_graph_has_no_backward_readers() -> None:
    with tf.Graph().as_default() as live:
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with recompute_scope():
            residual(x, "a")
        from tests.nets import snapshot

        graph = snapshot(live)
    assert refusals(graph, forward="reject") == ["no_backward_readers"]


def test_what_no_rewrite_covers_is_left_alone() -> None:
    def guarded(x: Any, name: str) -> Any:
        with no_rewrite():
            return residual(x, name)

    assert refusals(chain(guarded)) == ["opted_out"] * 3


def test_a_fed_tensor_inside_a_region_is_refused() -> None:
    graph = chain(regions=1)
    assert refusals(graph, fed=("region0/layer0/inner/Tanh:0",)) == ["fed"]


def test_a_fetched_tensor_is_not_recomputed() -> None:
    graph = chain(regions=1)
    name = "region0/layer0/inner/Tanh:0"
    outcome, plan = rewrite(graph, fetched=(name,))
    assert [rejection.code.value for rejection in plan.rejections] == ["fetched"]
    redirected = {str(redirect.tensor) for redirect in plan.regions[0].redirects}
    assert name.removesuffix(":0") not in redirected
    assert redirected
    assert_same_bits(graph, outcome.after)


def test_a_scope_that_holds_nothing_but_a_loop_is_left_alone() -> None:
    def looped(x: Any, name: str) -> Any:
        tf.disable_control_flow_v2()
        return tf.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, tf.tanh(a)), (0, x))[1]

    assert refusals(chain(looped, depth=1)) == ["crosses_frame"] * 3


def test_a_random_op_without_a_stateless_twin_is_refused_only_where_it_must_be_drawn_again() -> (
    None
):
    def scaled(x: Any, name: str) -> Any:
        return residual(x * tf.random_gamma([8], 2.0, seed=3), name)

    graph = chain(scaled)
    assert refusals(graph, random="stateless") == ["random_op"] * 3
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 3
    assert_same_bits(graph, outcome.after)


def test_a_region_that_keeps_nothing_for_the_backward_pass_is_left_alone() -> None:
    graph = chain(lambda x, name: x + 1.0, regions=1)
    assert refusals(graph, forward="reject") == ["no_backward_readers"]


def test_the_scope_refuses_eager_execution() -> None:
    with tf.Graph().as_default():
        pass
    with pytest.raises(UsageError, match="eager"):
        import tensorflow

        with tensorflow.init_scope(), recompute_scope():
            pass


def test_hostile_scope_names_make_valid_node_names() -> None:
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with recompute_scope("../\x1b[31m né^:"):
            x = residual(residual(x, "a"), "b")
        graph = trained(tf.reduce_mean(tf.square(x), name="loss"))
    outcome, plan = rewrite(graph)
    assert len(plan.regions) == 1
    assert_same_bits(graph, outcome.after)


def test_the_pass_is_known_by_name_and_its_plan_is_plain_data() -> None:
    assert parse_pass("recompute{random=stateless}", REGISTRY) == REGISTRY["recompute"](
        random="stateless"
    )
    _, plan = rewrite(chain(regions=1))
    assert isinstance(plan, RecomputePlan)
    told = plan.to_json()["regions"][0]
    assert told["name"] == "part" and told["freed_bytes"] > 0
    assert "1 regions" in plan.summary() and plan.describe()
