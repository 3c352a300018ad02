"""Marked regions of graphs that nobody has differentiated yet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev as gr
from tests.nets import batch, dense, snapshot, tf
from tests.passes.recompute.nets import residual

Build = Callable[[Any], Any]


def chain(x: Any) -> Any:
    for number in range(3):
        with tf.variable_scope(f"region{number}"), gr.recompute_scope("part"):
            x = residual(residual(x, "one"), "two")
    return x


def nested(x: Any) -> Any:
    with gr.recompute_scope("outer"):
        x = residual(x, "before")
        with gr.recompute_scope("inner"):
            x = residual(residual(x, "one"), "two")
        return residual(x, "after")


def several_outputs(x: Any) -> Any:
    with gr.recompute_scope():
        x = residual(x, "stem_of_both")
        first, second = tf.split(dense(dense(x, "a"), "b", 16), 2, axis=1)
        third = tf.tanh(dense(x, "c"))
    return first * second + third


def ends_in_a_product(x: Any) -> Any:
    with gr.recompute_scope():
        x = dense(dense(x, "a"), "b")
        return tf.matmul(x, tf.get_variable("end", [8, 8]))


def skip_from_the_middle(x: Any) -> Any:
    with gr.recompute_scope():
        early = residual(x, "a")
        late = dense(residual(early, "b"), "c")
    return tf.tanh(late) * early


def crosswise(x: Any) -> Any:
    """Each region reads what the other one computed."""
    with gr.recompute_scope("first"):
        a = dense(dense(x, "a"), "a2")
    with gr.recompute_scope("second"):
        b = dense(dense(x, "b"), "b2")
        c = dense(dense(a, "c"), "c2")
    with tf.get_default_graph()._attr_scope(_mark_of(a)):
        d = dense(dense(b, "d"), "d2")
    return c * d


def _mark_of(tensor: Any) -> Any:
    key = "_graphrev_recompute"
    return {key: tensor.op.node_def.attr[key]}


def dropout(x: Any) -> Any:
    with gr.recompute_scope():
        x = residual(x, "a")
        return dense(tf.nn.dropout(dense(x, "b"), rate=0.5, seed=7), "c")


def batch_norm(x: Any) -> Any:
    with gr.recompute_scope():
        x = dense(dense(x, "a"), "b")
        image = tf.reshape(x, [4, 2, 2, 2])
        image, mean, _ = tf.nn.fused_batch_norm(image, tf.ones([2]), tf.zeros([2]))
        moving = tf.get_variable("moving", [2], trainable=False, use_resource=True)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, moving.assign_sub(0.1 * (moving - mean)))
    return tf.reshape(image, [4, 8]) * 2.0


def conditional_on_a_wait(x: Any) -> Any:
    with gr.recompute_scope():
        a = dense(dense(x, "a"), "b")
        with tf.control_dependencies([a]):
            factor = tf.identity(tf.constant(0.5))
        return dense(a * factor, "c")


BUILDS = [
    chain,
    nested,
    several_outputs,
    ends_in_a_product,
    dropout,
    batch_norm,
    conditional_on_a_wait,
]


def session() -> Any:
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tf.Session(config=config)


def outcome(build: Build, passes: str | None, steps: int = 3) -> tuple[list[Any], gr.Report | None]:
    """Losses, gradients and trained variables of some steps; differentiated after rewriting."""
    with tf.Graph().as_default() as graph, session() as sess:
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        y = build(x)
        report = gr.rewrite(graph, passes).report if passes else None
        loss = tf.reduce_mean(tf.square(y))
        optimizer = tf.train.GradientDescentOptimizer(0.1)
        pairs = optimizer.compute_gradients(loss)
        gradients = [grad for grad, _ in pairs if grad is not None]
        updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        step = optimizer.apply_gradients(pairs)
        sess.run(tf.global_variables_initializer())
        values: list[Any] = []
        for _ in range(steps):
            values.extend(sess.run([loss, *gradients, step, updates], {"x:0": batch()})[:-2])
        return [*values, *sess.run(tf.global_variables())], report


@pytest.mark.parametrize("build", BUILDS)
def test_gradients_and_training_are_bitwise_those_of_the_plain_graph(build: Build) -> None:
    plain, _ = outcome(build, None)
    ours, report = outcome(build, "recompute")
    assert report is not None and report.changed
    for first, second in zip(plain, ours):
        np.testing.assert_array_equal(first, second)


def test_a_value_that_leaves_from_the_middle_gets_both_its_gradients() -> None:
    """They are added in another order, so the last bit may differ."""
    plain, _ = outcome(skip_from_the_middle, None)
    ours, report = outcome(skip_from_the_middle, "recompute")
    assert report is not None and report.changed
    for first, second in zip(plain, ours):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("resource", [True, False])
def test_shared_variables_of_both_kinds_train_the_same(resource: bool) -> None:
    def shared(x: Any) -> Any:
        for _ in range(3):
            with tf.variable_scope("shared", reuse=tf.AUTO_REUSE), gr.recompute_scope():
                inner = dense(x, "inner", resource=resource)
                x = x + dense(inner, "outer", resource=resource)
        return x

    plain, _ = outcome(shared, None)
    ours, report = outcome(shared, "recompute")
    assert report is not None and report.changed
    for first, second in zip(plain, ours):
        np.testing.assert_array_equal(first, second)


def test_regions_that_wait_for_each_other_are_refused() -> None:
    _, report = outcome(crosswise, "recompute")
    assert report is not None and not report.changed
    assert [r.code.value for r in report.rejections] == ["trigger_cycle"] * 2


def test_random_numbers_can_be_drawn_again_from_a_seed() -> None:
    with tf.Graph().as_default() as graph, session() as sess:
        tf.set_random_seed(5)
        y = dropout(dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8))
        gr.rewrite(graph, "recompute{random=stateless}")
        drawn = [op for op in graph.get_operations() if op.type == "StatelessRandomUniform"]
        tf.gradients(y, tf.trainable_variables())
        copies = [op for op in graph.get_operations() if op.type == "StatelessRandomUniform"]
        sess.run(tf.global_variables_initializer())
        first, second = sess.run([op.outputs[0] for op in copies], {"x:0": batch()})
        assert len(drawn) == 1 and len(copies) == 2
        np.testing.assert_array_equal(first, second)


def test_nothing_of_the_forward_pass_is_read_but_what_enters_and_the_last_op() -> None:
    with tf.Graph().as_default() as graph:
        y = chain(dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8))
        gr.rewrite(graph, "recompute")
        before = set(graph.get_operations())
        tf.gradients(y, tf.trainable_variables())
        added = [op for op in graph.get_operations() if op not in before]
        carriers = {op.inputs[0].op for op in before if op.name.endswith("/recompute")}
    assert carriers
    values = {"Tanh", "AddV2", "Add", "MatMul"}
    inner = {op for op in before if op.type in values and op.name.startswith("region")}
    inner -= {op for op in before if op.name.endswith("/two/add")}
    read = {tensor.op for op in added if op.type != "Shape" for tensor in op.inputs}
    assert not {op.name for op in read & inner}


def test_a_second_run_changes_nothing_before_and_after_differentiation() -> None:
    with tf.Graph().as_default() as graph:
        y = chain(dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8))
        assert gr.rewrite(graph, "recompute").changed
        assert not gr.rewrite(graph, "recompute").changed
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(y))
        again = gr.rewrite(graph, "recompute")
        assert not again.changed
        assert "already_rewritten" in {r.code.value for r in again.report.rejections}


def test_a_late_skip_of_a_forward_graph_is_no_backward_pass() -> None:
    with tf.Graph().as_default() as graph:
        x = dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8)
        with gr.recompute_scope():
            down = residual(residual(x, "a"), "b")
        bottom = residual(down, "bottom")
        tf.concat([down, bottom], 1)
        plan = gr.analyze(graph, "recompute").run.steps[0].plan
    assert [region["deferred"] for region in plan.to_json()["regions"]] == [True]


def test_the_option_leaves_forward_graphs_alone() -> None:
    _, report = outcome(chain, "recompute{forward=reject}")
    assert report is not None and not report.changed
    assert {r.code.value for r in report.rejections} == {"no_backward_readers"}


PROGRAM = """
import sys
import graphrev
import numpy as np
import tensorflow
tf = tensorflow.compat.v1
tf.disable_eager_execution()
config = tf.ConfigProto()
config.graph_options.rewrite_options.disable_meta_optimizer = True
with tf.Graph().as_default() as graph, tf.Session(config=config) as session:
    tf.import_graph_def(tf.GraphDef.FromString(open(sys.argv[1], "rb").read()), name="")
    variables = [op.outputs[0] for op in graph.get_operations() if op.type == "VarHandleOp"]
    grads = tf.gradients(graph.get_tensor_by_name("loss:0"), variables)
    session.run([op for op in graph.get_operations() if op.type == "AssignVariableOp"])
    draw = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    np.savez(sys.argv[2], *session.run(grads, {"x:0": draw}))
"""


def test_a_fresh_process_differentiates_a_rewritten_file(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        y = chain(dense(tf.placeholder(tf.float32, (4, 8), name="x"), "stem", 8))
        tf.reduce_mean(tf.square(y), name="loss")
        (tmp_path / "plain.pb").write_bytes(graph.as_graph_def().SerializeToString())
        assert snapshot(graph)
    result = gr.rewrite(tmp_path / "plain.pb", "recompute")
    assert result.changed
    result.save(tmp_path / "ours.pb")
    found = []
    for kind in ("plain", "ours"):
        arguments = [str(tmp_path / f"{kind}.pb"), str(tmp_path / f"{kind}.npz")]
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments]
        root = Path(gr.__file__).parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr[-2000:]
        found.append(np.load(tmp_path / f"{kind}.npz"))
    for key in found[0].files:
        np.testing.assert_array_equal(found[1][key], found[0][key])
