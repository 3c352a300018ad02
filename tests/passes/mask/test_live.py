"""Masks in a live graph: variables TensorFlow's own tools find, and marks that choose kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev
from graphrev.pipeline import Code
from tests.nets import snapshot, tf
from tests.passes.mask.nets import batch, built, convolutions, mask, variable

OPTIONS = "mask{sparsity=0.5,first=masked,last=masked,frequency=1}"
FEEDS = {"x:0": batch((8, 6, 6, 3))}


@pytest.mark.parametrize("resource", [False, True])
def test_initializer_and_saver_made_later_cover_the_masks(resource: bool, tmp_path: Any) -> None:
    with tf.Graph().as_default() as live:
        loss = convolutions(resource=resource)
        step = tf.train.get_or_create_global_step()
        train = tf.train.GradientDescentOptimizer(0.01).minimize(loss, global_step=step)
        result = graphrev.rewrite(live, OPTIONS)
        session = tf.Session()
        session.run(tf.global_variables_initializer())
        masks = tf.get_collection("masks")
        assert [v.op.name for v in masks] == ["c1/mask", "c2/mask", "f1/mask", "f2/mask"]
        assert all(v in tf.global_variables() for v in masks)
        assert not set(masks) & set(tf.trainable_variables())
        kernels = [v.op.name for v in tf.get_collection("kernel")]
        assert kernels == ["c1/kernel", "c2/kernel", "f1/kernel", "f2/kernel"]
        assert all((session.run(v.value()) == 1).all() for v in masks)
        session.run(train, FEEDS)
        plan: Any = result.report.steps[0].plan
        zeros = [int((session.run(v.value()) == 0).sum()) for v in masks]
        assert zeros == [k.zeros for k in plan.kernels]
        prefix = tf.train.Saver().save(session, str(tmp_path / "c"), write_meta_graph=False)
        values = session.run([v.value() for v in masks])
        session.run(tf.global_variables_initializer())
        tf.train.Saver().restore(session, prefix)
        for value, v in zip(values, masks):
            np.testing.assert_array_equal(session.run(v.value()), value)


def test_prunable_marks_choose_the_kernels() -> None:
    def build() -> Any:
        h = tf.placeholder(tf.float32, [2, 8], "x")
        h = tf.matmul(h, variable("a", [8, 8]))
        with graphrev.prunable():
            h = tf.matmul(h, variable("b", [8, 8]))
        late = variable("c", [8, 8])
        with graphrev.prunable("late"):
            return tf.matmul(h, late)

    _, plan = mask(built(build))
    assert [k.variable for k in plan.kernels] == ["b", "c"]
    assert [(r.code, r.nodes) for r in plan.rejections] == [(Code.NOT_SELECTED, ("a",))]
    _, plan = mask(built(build), include=("a",))
    assert [k.variable for k in plan.kernels] == ["a"]


def test_marks_survive_saving() -> None:
    with tf.Graph().as_default() as live:
        with graphrev.prunable("one"), graphrev.prunable("two"):
            tf.constant(1.0, name="inside")
        tf.constant(1.0, name="outside")
        graph = snapshot(live)
    from graphrev.ir.marks import group_of, is_prunable

    assert is_prunable(graph["inside"]) and group_of(graph["inside"]) == "two"
    assert not is_prunable(graph["outside"]) and group_of(graph["outside"]) is None


@pytest.mark.parametrize("resource", [False, True])
def test_figures_and_growth_work_in_a_live_graph(resource: bool) -> None:
    with tf.Graph().as_default() as live:
        loss = convolutions(resource=resource)
        step = tf.train.get_or_create_global_step()
        train = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss, global_step=step)
        more = "end=9,criterion=taylor,regrowth=rigl"
        result = graphrev.rewrite(live, OPTIONS.replace("}", f",{more}}}"))
        scores = [v for v in tf.global_variables() if v.op.name.endswith("/score")]
        assert [v.op.name for v in scores] == ["c1/score", "c2/score", "f1/score", "f2/score"]
        assert not set(scores) & set(tf.trainable_variables())
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                session.run(train, FEEDS)
            assert all(session.run(v.value()).any() for v in scores)
            masks = session.run([v.value() for v in tf.get_collection("masks")])
        plan: Any = result.report.steps[0].plan
        assert [int((value == 0).sum()) for value in masks] == [k.zeros for k in plan.kernels]
