from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr
from graphrev.errors import LiveGraphError
from graphrev.passes import CleanScopes
from graphrev.passes.clean_scopes import CleanPlan
from graphrev.pipeline import Run, run
from tests.nets import batch, dense, one_step, snapshot

tf: Any = tensorflow.compat.v1


@tensorflow.custom_gradient
def scaled_sine(x: Any) -> Any:
    def grad(dy: Any) -> Any:
        with tf.name_scope("twice"):
            return 2.0 * dy * tf.cos(x)

    return tf.sin(x), grad


def model(loops: int = 2) -> Any:
    """Fills the default graph with nested scopes of custom gradients; returns the loss."""
    y = dense(tf.placeholder(tf.float32, [4, 8], name="x"), "stem", 8)
    with tf.name_scope("net"):
        for _ in range(loops):
            y = scaled_sine(y)
    with tf.name_scope("train"):
        loss = tf.reduce_mean(tf.square(y), name="loss")
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="step")
    return loss


def clean(graph: gr.Model | Any, **options: Any) -> tuple[Run, CleanPlan]:
    outcome = run(graph, [CleanScopes(**options)])
    plan = outcome.steps[0].plan
    assert isinstance(plan, CleanPlan)
    return outcome, plan


def built(prefix: str = "") -> Any:
    with tf.Graph().as_default() as graph:
        model()
        if not prefix:
            return snapshot(graph)
        definition = graph.as_graph_def()
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name=prefix)
        return snapshot(graph)


@pytest.mark.parametrize("prefix", ["", "imported/here"])
def test_scopes_of_custom_gradients_go_and_everything_else_keeps_its_name(prefix: str) -> None:
    before = built(prefix)
    outcome, plan = clean(before)
    head = f"{prefix}/" if prefix else ""
    old = [name for name in before.nodes if "IdentityN_grad" in name or "IdentityN_1_grad" in name]
    assert old and set(plan.names) == set(old)
    assert all(name.startswith(f"{head}train/gradients/net/") for name in plan.names.values())
    assert not any("IdentityN" in name for name in plan.names.values())
    assert set(before.nodes) - set(outcome.after.nodes) == set(old)
    assert len(before) == len(outcome.after)
    assert f"{head}train/gradients/net/twice/mul" in outcome.after.nodes
    assert f"{head}train/gradients/net/twice_1/mul" in outcome.after.nodes


def test_the_graph_computes_the_very_same() -> None:
    before = built()
    after = clean(before)[0].after
    fetch = ["train/loss:0", "train/step"]
    feeds = {"x:0": batch()}
    for old, new in zip(one_step(before, feeds, fetch)[:1], one_step(after, feeds, fetch)[:1]):
        np.testing.assert_array_equal(old, new)


def test_a_second_run_changes_nothing() -> None:
    after = clean(built())[0].after
    assert clean(after)[1].is_empty


def test_the_word_alone_is_no_reason() -> None:
    with tf.Graph().as_default() as graph:
        with tf.name_scope("mine/IdentityN_grad"):
            tf.identity(tf.constant(1.0), name="value")
        model(loops=1)
        _, plan = clean(snapshot(graph))
    assert "mine/IdentityN_grad/value" not in plan.names


def test_names_that_are_fed_or_fetched_or_opted_out_are_kept() -> None:
    before = built()
    names = [name for name in before.nodes if "IdentityN_1_grad" in name]
    _, plan = clean(before, fed=(f"{names[0]}:0",), fetched=(names[1],))
    assert {r.code.value: r.nodes for r in plan.rejections} == {
        "fed": (names[0],),
        "fetched": (names[1],),
    }
    assert names[0] not in plan.names and names[2] in plan.names


def test_colocations_and_collections_follow(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        model()
        inner = next(op for op in graph.get_operations() if "IdentityN_grad" in op.name)
        tf.add_to_collection("mine", inner.outputs[0])
        with tf.colocate_with(inner):
            tf.identity(tf.constant(1.0), name="beside")
        tf.train.export_meta_graph(str(tmp_path / "old.meta"), graph=graph)
    gr.rewrite(tmp_path / "old.meta", "clean-scopes").save(tmp_path / "new.meta")
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(str(tmp_path / "new.meta"))
        (tensor,) = tf.get_collection("mine")
        assert tensor.op.name.startswith("train/gradients/net/")
        assert "IdentityN" not in tensor.op.name
        beside = graph.get_operation_by_name("beside")
        assert beside.colocation_groups() == [f"loc:@{tensor.op.name}".encode()]


def test_a_live_graph_is_refused_and_left_as_it_is() -> None:
    with tf.Graph().as_default() as graph:
        model()
        names = [op.name for op in graph.get_operations()]
        with pytest.raises(LiveGraphError, match="live graph"):
            gr.rewrite(graph, "clean-scopes")
        assert [op.name for op in graph.get_operations()] == names


def test_what_the_layers_add_needs_no_cleaning() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        y1, y2 = gr.layers.rev_block(x, x, lambda x: dense(x, "f"), lambda x: dense(x, "g"), 3)
        y = gr.layers.recompute_grad(tf.tanh)(y1 * y2)
        tf.gradients(y, [x, *tf.trainable_variables()])
        assert clean(snapshot(graph))[1].is_empty
