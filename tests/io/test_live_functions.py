"""Live graphs: functional loops and branches run rewritten copies of their functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr
from graphrev.errors import LiveGraphError
from graphrev.io.live import from_tf_graph, replay_on
from tests import test_gradients_in_control_flow as flow

tf: Any = tensorflow.compat.v1
PASSES = flow.PASSES
pytestmark = pytest.mark.usefixtures("control_flow_v2")


def loss_of(program: flow.Program, step: flow.Step = flow.pair) -> Any:
    return flow.loss_of(program(step))


def beside_a_loop_left_alone() -> Any:
    """Two loops after another in a loop's body; only the second is rewritten."""
    w = flow.weight("f")

    def turn(i: Any, a: Any) -> tuple[Any, Any]:
        return i + 1, tf.tanh(tf.matmul(a, w))

    def pairs(i: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (i + 1, *flow.pair(a, b))

    def body(j: Any, a: Any, b: Any) -> tuple[Any, ...]:
        (a,) = flow.repeat(2, turn, (a,))
        return (j + 1, *flow.repeat(2, pairs, (a, b)))

    return flow.loss_of(list(flow.repeat(2, body, flow.start())))


def over_a_tensor_array() -> Any:
    x1, x2 = flow.start()
    rows = tf.TensorArray(tf.float32, 3).unstack(tf.stack([x1, x1 * 2.0, x1 * 3.0]))
    written = tf.TensorArray(tf.float32, 3)
    w = flow.weight("f")

    def body(i: Any, h: Any, written: Any) -> tuple[Any, Any, Any]:
        with gr.recompute_scope():
            h = tf.tanh(tf.matmul(tf.sigmoid(tf.matmul(h, w) + rows.read(i)), w))
        return i + 1, h, written.write(i, h)

    def test(i: Any, *_: Any) -> Any:
        return i < 3

    _, h, written = tf.while_loop(test, body, (0, x2, written))
    return tf.reduce_sum(tf.square(written.stack())) + tf.reduce_sum(h)


def in_a_switch() -> Any:
    x1, x2 = flow.start()
    cases = [lambda: flow.pair(x1, x2), lambda: flow.pair(x2, x1 * 2.0), lambda: (x1, x2)]
    return flow.loss_of(list(tf.switch_case(tf.placeholder_with_default(1, []), cases)))


def beside_a_call() -> Any:
    """A tf.function, called in the same body, keeps its own gradient."""

    def mixed(a: Any, b: Any) -> tuple[Any, Any]:
        return tf.tanh(a), b * tf.sin(a)

    call: Any = tensorflow.function(mixed, autograph=False)

    def step(a: Any, b: Any) -> tuple[Any, Any]:
        return call(*flow.pair(a, b))

    return loss_of(flow.loop, step)


def of_reference_variables() -> Any:
    with tf.variable_scope("", use_resource=False):
        return loss_of(flow.branch_in_loop, _pair_of_references)


def _pair_of_references(x1: Any, x2: Any) -> tuple[Any, Any]:
    with gr.residual_pair():
        y1 = x1 + tf.tanh(tf.matmul(tf.sigmoid(tf.matmul(x2, _reference())), _reference()))
        y2 = x2 + tf.tanh(tf.matmul(tf.sigmoid(tf.matmul(y1, _reference())), _reference()))
    return y1, y2


def _reference() -> Any:
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        return tf.get_variable("reference", [8, 8], use_resource=False)


def once(loss: Any) -> list[Any]:
    wanted = [tf.get_default_graph().get_tensor_by_name("x:0"), *tf.trainable_variables()]
    return [grad for grad in tf.gradients(loss, wanted) if grad is not None]


def twice(loss: Any) -> list[Any]:
    return once(loss) + once(loss * 2.0)


def second_order(loss: Any) -> list[Any]:
    return once(tf.reduce_sum(tf.square(once(loss)[0])))


def run(fetches: Any, config: Any = None) -> Any:
    with tf.Session(config=config) as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, {"x:0": flow.X})


ROWS = [
    pytest.param(beside_a_loop_left_alone, twice, id="a loop left alone beside, twice"),
    pytest.param(over_a_tensor_array, once, id="tensor arrays"),
    pytest.param(in_a_switch, once, id="switch_case"),
    pytest.param(beside_a_call, once, id="a call beside"),
    pytest.param(of_reference_variables, once, id="reference variables"),
    pytest.param(lambda: loss_of(flow.loop_in_loop), twice, id="loop in loop, twice"),
    pytest.param(lambda: loss_of(flow.branch_in_loop), twice, id="branch in loop, twice"),
    pytest.param(lambda: loss_of(flow.loop, flow.scope), second_order, id="second order"),
]


@pytest.mark.parametrize(("program", "ask"), ROWS)
def test_gradients_of_copies_equal_plain(program: Any, ask: Any) -> None:
    assert_equals_plain(program, ask, None)


@pytest.mark.parametrize("program", [flow.branch_in_loop, flow.loop_in_loop])
def test_without_grappler_too(program: flow.Program) -> None:
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    assert_equals_plain(lambda: loss_of(program), once, config)


def assert_equals_plain(program: Any, ask: Any, config: Any) -> None:
    found = []
    for ours in (False, True):
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            loss = program()
            if ours:
                assert gr.rewrite(graph, PASSES).report.rejections == ()
                assert flow.carriers() > 0
            found.append(run(ask(loss), config))
    flow.assert_equal(found[1], found[0])


@pytest.mark.parametrize("program", [flow.loop, flow.branch, flow.branch_in_loop])
def test_recomputed_regions_give_the_very_same_bits(program: flow.Program) -> None:
    expected, _ = flow.plain(program, flow.scope)
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        loss = loss_of(program, flow.scope)
        gr.rewrite(graph, "recompute")
        for mine, other in zip(flow.values(flow.gradients_of(loss)), expected, strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("program", [flow.loop, flow.branch, flow.loop_in_loop])
def test_activations_of_a_pair_do_not_travel_to_the_gradient(program: flow.Program) -> None:
    activations = {"MatMul", "Sigmoid", "Tanh"}
    for ours in (False, True):
        with tf.Graph().as_default() as graph:
            loss = loss_of(program)
            if ours:
                gr.rewrite(graph, PASSES)
            once(loss)
            assert flow.handed_on().isdisjoint(activations) == ours


def test_what_was_copied_is_gone_and_the_ops_stay_what_they_were() -> None:
    with tf.Graph().as_default() as graph:
        loss_of(flow.branch_in_loop)
        (loop,) = [op for op in graph.get_operations() if op.type == "While"]
        body, attrs = loop.get_attr("body").name, set(loop.node_def.attr)
        read = list(loop.inputs)
        gr.rewrite(graph, PASSES)
        assert loop.get_attr("body").name != body and set(loop.node_def.attr) == attrs
        assert [a is b for a, b in zip(loop.inputs, read, strict=True)] == [True] * len(read)
        names = {function.signature.name for function in graph.as_graph_def().library.function}
        assert body not in names and loop.get_attr("body").name in names
        assert loop._body_graph.name == loop.get_attr("body").name


def test_a_rewritten_live_graph_trains_the_same_exported_and_imported(tmp_path: Path) -> None:
    losses = []
    for ours in (False, True):
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(1)
            loss = loss_of(flow.branch_in_loop)
            if ours:
                gr.rewrite(graph, PASSES)
            step = tf.train.GradientDescentOptimizer(1e-4).minimize(loss)
            tf.train.export_meta_graph(str(tmp_path / f"{ours}.meta"))
        with tf.Graph().as_default(), tf.Session() as session:
            tf.train.import_meta_graph(str(tmp_path / f"{ours}.meta"))
            session.run(tf.global_variables_initializer())
            names = [loss.name, step.name]
            losses.append([session.run(names, {"x:0": flow.X})[0] for _ in range(5)])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


def test_a_rewritten_live_graph_is_differentiated_after_import(tmp_path: Path) -> None:
    expected, _ = flow.plain(flow.loop_in_loop, flow.pair)
    with tf.Graph().as_default() as graph:
        loss = loss_of(flow.loop_in_loop)
        gr.rewrite(graph, PASSES)
        tf.train.export_meta_graph(str(tmp_path / "live.meta"))
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(str(tmp_path / "live.meta"))
        loss = graph.get_tensor_by_name(loss.name)
        flow.assert_equal(flow.values(flow.gradients_of(loss)), expected)


def test_calls_are_kept_by_name() -> None:
    with tf.Graph().as_default() as graph:
        call: Any = tensorflow.function(flow.pair, autograph=False)
        loss_of(flow.loop, call)
        before = graph.as_graph_def().SerializeToString(deterministic=True)
        report = gr.rewrite(graph, PASSES).report
        assert {(r.code.value, r.nodes) for r in report.rejections} == {
            ("crosses_frame", ("StatefulPartitionedCall",))
        }
        assert graph.as_graph_def().SerializeToString(deterministic=True) == before


def test_a_linear_loop_that_is_differentiated_is_kept_by_name() -> None:
    """Its gradient consists of ordinary ops alone; what it pops tells."""
    with tf.Graph().as_default() as graph:
        w = flow.weight("f")

        def linear(x1: Any, x2: Any) -> tuple[Any, Any]:
            with gr.residual_pair():
                y1 = x1 + tf.matmul(x2, w)
                y2 = x2 + tf.matmul(y1, w)
            return y1, y2

        once(tf.add_n(flow.loop(linear)))
        report = gr.rewrite(graph, PASSES).report
        assert not report.changed
        assert {(r.code.value, r.nodes) for r in report.rejections} == {
            ("crosses_frame", ("while",))
        }


def test_what_was_built_under_no_rewrite_keeps_its_function() -> None:
    with tf.Graph().as_default() as graph:
        with gr.no_rewrite():
            loss_of(flow.loop)
        assert not gr.rewrite(graph, PASSES).changed


def test_analysis_says_what_a_rewrite_does() -> None:
    with tf.Graph().as_default() as graph:
        loss = loss_of(flow.loop)
        assert gr.analyze(graph, PASSES).changed
        assert not gr.rewrite(graph, "reversible{functions=keep}").changed
        once(loss)
        told = gr.analyze(graph, PASSES).rejections
        assert told and told == gr.rewrite(graph, PASSES).report.rejections


def test_a_function_is_never_changed_in_place() -> None:
    with tf.Graph().as_default() as graph:
        loss_of(flow.loop)
        edits = gr.rewrite(from_tf_graph(graph), PASSES).edits
        before = graph.as_graph_def().SerializeToString(deterministic=True)
        with pytest.raises(LiveGraphError, match="Function 'while_body"):
            replay_on(graph, edits)
        assert graph.as_graph_def().SerializeToString(deterministic=True) == before
