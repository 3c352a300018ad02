"""Graphs rewritten before anybody differentiates them: live, by the decorator, and from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr
from graphrev.replicas import Trained
from tests.nets import batch, dense

tf: Any = tensorflow.compat.v1
STRUCTURAL = "reversible{detect=structural}"


def forward(x: Any, pairs: int = 3, resource: bool = True, mark: bool = True) -> tuple[Any, Any]:
    """A stem and a chain of pairs; the streams at its end."""
    x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)
    for number in range(pairs):
        with tf.variable_scope(f"pair{number}"), gr.residual_pair() if mark else tf.name_scope(""):
            x1 = x1 + dense(x2, "f", resource=resource)
            x2 = x2 + dense(x1, "g", resource=resource)
    return x1, x2


def loss_of(x1: Any, x2: Any) -> Any:
    return tf.reduce_mean(tf.square(x1) + tf.sin(x2))


def run(values: Any) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(values, {"x:0": batch()})


def gradients(
    ask: Any, *, rewrite: bool, resource: bool = True, differentiate: Any = None
) -> tuple[Any, list[str]]:
    """What ``ask`` asks for of the chain, and the names of recomputed ops."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        y1, y2 = forward(x, resource=resource)
        if rewrite:
            assert gr.rewrite(graph, "reversible").changed
        asked = ask(x, y1, y2)
        return run(asked), recomputed(graph)


def recomputed(graph: Any) -> list[str]:
    return [op.name for op in graph.get_operations() if "recompute" in op.name.split("/")[:-1]]


def of_everything(x: Any, y1: Any, y2: Any) -> Any:
    return tf.gradients(loss_of(y1, y2), [x, *tf.trainable_variables()])


def of_one_output(x: Any, y1: Any, y2: Any) -> Any:
    return tf.gradients(y1, [x, *tf.trainable_variables()[:-2]])


def of_several_losses(x: Any, y1: Any, y2: Any) -> Any:
    first = tf.gradients(loss_of(y1, y2), [x])
    return first + tf.gradients([tf.square(y2), y1], tf.trainable_variables())


def of_an_inner_stream(x: Any, y1: Any, y2: Any) -> Any:
    inner = tf.get_default_graph().get_tensor_by_name("pair1/add:0")
    auxiliary = tf.reduce_sum(tf.square(inner))
    return tf.gradients(loss_of(y1, y2) + auxiliary, [inner, x, *tf.trainable_variables()])


def with_stop_gradients(x: Any, y1: Any, y2: Any) -> Any:
    inner = tf.get_default_graph().get_tensor_by_name("pair1/add:0")
    kernels = tf.trainable_variables()[-4:]
    return tf.gradients(loss_of(y1, y2), kernels, stop_gradients=[inner])


def of_second_order(x: Any, y1: Any, y2: Any) -> Any:
    first = tf.gradients(loss_of(y1, y2), x)[0]
    return tf.gradients(tf.reduce_sum(tf.square(first)), [x, *tf.trainable_variables()])


def colocated(x: Any, y1: Any, y2: Any) -> Any:
    return tf.gradients(loss_of(y1, y2), x, colocate_gradients_with_ops=True)


ASKED = [
    of_everything,
    of_one_output,
    of_several_losses,
    of_an_inner_stream,
    with_stop_gradients,
    of_second_order,
    colocated,
]


@pytest.mark.parametrize("ask", ASKED)
def test_a_live_forward_graph_differentiates_as_before(ask: Any) -> None:
    plain, none = gradients(ask, rewrite=False)
    ours, some = gradients(ask, rewrite=True)
    assert some and not none
    for first, second in zip(plain, ours):
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("resource", [True, False])
def test_minimize_takes_the_same_steps(resource: bool) -> None:
    found = []
    for rewrite in (False, True):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            x = tf.placeholder(tf.float32, [4, 8], name="x")
            y1, y2 = forward(x, resource=resource)
            if rewrite:
                gr.rewrite(graph, "reversible")
            loss = loss_of(y1, y2)
            step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
            session.run(tf.global_variables_initializer())
            found.append([session.run([loss, step], {x: batch()})[0] for _ in range(10)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_a_decorated_forward_function_keeps_its_tensors() -> None:
    @gr.rewritten
    def model(x: Any) -> dict[str, Any]:
        y1, y2 = forward(x)
        return {"streams": (y1, y2), "loss": loss_of(y1, y2)}

    with tf.Graph().as_default() as graph:
        result = model(tf.placeholder(tf.float32, [4, 8], name="x"))
        asked = tf.gradients([result["loss"], *result["streams"]], tf.trainable_variables())
        assert recomputed(graph)
        ours = run(asked)
    with tf.Graph().as_default():
        y1, y2 = forward(tf.placeholder(tf.float32, [4, 8], name="x"))
        plain = run(tf.gradients([loss_of(y1, y2), y1, y2], tf.trainable_variables()))
    for first, second in zip(plain, ours):
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_forward_graph_whose_streams_meet_in_a_product_gets_its_gradient(pairs: int) -> None:
    with tf.Graph().as_default() as graph:
        y1, y2 = forward(tf.placeholder(tf.float32, [4, 8], name="x"), pairs)
        tf.multiply(y1, y2)
        assert gr.rewrite(graph, "reversible").changed


def test_a_function_called_twice_is_rewritten_twice() -> None:
    @gr.rewritten("reversible")
    def model(x: Any) -> Any:
        return loss_of(*forward(x))

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        with tf.variable_scope("shared", reuse=tf.AUTO_REUSE):
            first = model(x)
            grads = tf.gradients(first, tf.trainable_variables())
            second = model(2.0 * x)
        grads += tf.gradients(second, tf.trainable_variables())
        deferred = [op for op in graph.get_operations() if op.name.endswith("/recompute")]
        assert len(deferred) == 12 and len(tf.trainable_variables()) == 14
        assert all(np.isfinite(value).all() for value in run(grads))


def test_the_gradient_of_a_deferred_graph_is_left_alone_by_the_pass() -> None:
    with tf.Graph().as_default() as graph:
        y1, y2 = forward(tf.placeholder(tf.float32, [4, 8], name="x"))
        gr.rewrite(graph, STRUCTURAL)
        tf.train.GradientDescentOptimizer(0.1).minimize(loss_of(y1, y2))
        again = gr.rewrite(graph, STRUCTURAL)
    assert not again.changed
    assert {r.code.value for r in again.report.rejections} >= {"already_rewritten"}


def test_a_block_that_gradients_stop_after_is_left_alone() -> None:
    with tf.Graph().as_default() as graph:
        y1, y2 = forward(tf.placeholder(tf.float32, [4, 8], name="x"))
        head = dense(tf.stop_gradient(tf.concat([y1, y2], 1)), "head")
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(head)))
        outcome = gr.rewrite(graph, "reversible")
    assert not outcome.changed
    assert "no_backward_readers" in {r.code.value for r in outcome.report.rejections}


def test_only_gradients_that_somebody_may_ask_for_are_waited_for() -> None:
    """Waiting for the gradient of a mask or of a frozen variable would make it run."""
    with tf.Graph().as_default() as graph:
        trained = tf.get_variable("trained", [8])
        frozen = tf.get_variable("frozen", [8], trainable=False)
        mask = tf.cast(tf.random_uniform([8]) < 0.5, tf.float32)
        judge = Trained.of(graph)
        assert judge.reaches(tf.square(trained.read_value()))
        assert not judge.reaches(tf.square(frozen.read_value()))
        assert not judge.reaches(mask)


def test_every_gate_waits_for_the_weight_gradients_of_the_half_above() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8], name="x")
        y1, y2 = gr.layers.rev_block(x, x, lambda x: dense(x, "f"), lambda x: dense(x, "g"), 3)
        tf.gradients(y1 * y2, tf.trainable_variables())
        gates = [op for op in graph.get_operations() if op.name.split("/")[-1].startswith("gate")]
    for gate in gates[1:]:
        names = [op.name for op in gate.control_inputs]
        assert sum("MatMul_grad" in name for name in names) >= 2, names


PROGRAM = """
import sys
import graphrev
assert "tensorflow" not in sys.modules
import numpy as np
import tensorflow
tf = tensorflow.compat.v1
tf.disable_eager_execution()
with tf.Graph().as_default() as graph, tf.Session() as session:
    definition = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
    tf.import_graph_def(definition, name=sys.argv[2])
    prefix = sys.argv[2] and sys.argv[2] + "/"
    handles = [op.outputs[0] for op in graph.get_operations() if op.type == "VarHandleOp"]
    x = graph.get_tensor_by_name(prefix + "x:0")
    grads = tf.gradients(graph.get_tensor_by_name(prefix + "loss:0"), [x, *handles])
    session.run([op for op in graph.get_operations() if op.type == "AssignVariableOp"])
    draw = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    np.savez(sys.argv[3], *session.run(grads, {x: draw}))
    assert any("recompute" in op.name.split("/")[:-1] for op in graph.get_operations()) == (
        sys.argv[4] == "ours")
"""


@pytest.mark.parametrize("prefix", ["", "imported"])
def test_a_fresh_process_differentiates_a_rewritten_file(tmp_path: Path, prefix: str) -> None:
    with tf.Graph().as_default() as graph:
        y1, y2 = forward(tf.placeholder(tf.float32, [4, 8], name="x"), mark=False)
        tf.identity(loss_of(y1, y2), name="loss")
        (tmp_path / "plain.pb").write_bytes(graph.as_graph_def().SerializeToString())
    gr.rewrite(tmp_path / "plain.pb", STRUCTURAL).save(tmp_path / "ours.pb")
    found = []
    for kind in ("plain", "ours"):
        arguments = [tmp_path / f"{kind}.pb", prefix, tmp_path / f"{kind}.npz", kind]
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *map(str, arguments)]
        root = Path(gr.__file__).parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr[-2000:]
        found.append(np.load(tmp_path / f"{kind}.npz"))
    for key in found[0].files:
        np.testing.assert_allclose(found[1][key], found[0][key], rtol=1e-5, atol=1e-6)


def test_tapes_in_functions_get_the_same_gradients() -> None:
    start = batch()

    def value(x: Any, efficient: bool) -> Any:
        return gr.layers.rev_block(x, 2.0 * x, tf.tanh, tf.sigmoid, 2, is_training=efficient)

    with tf.Graph().as_default(), tf.Session() as session:
        found = []
        for efficient in (False, True):

            @tensorflow.function
            def grad(x: Any, efficient: bool = efficient) -> Any:
                with tensorflow.GradientTape() as tape:
                    tape.watch(x)
                    y1, y2 = value(x, efficient)
                    loss = tf.reduce_sum(y1 * y2)
                return tape.gradient(loss, x)

            found.append(session.run(grad(tf.constant(start))))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_importing_graphrev_does_not_import_tensorflow() -> None:
    code = "import sys, graphrev, graphrev.layers; sys.exit('tensorflow' in sys.modules)"
    root = Path(gr.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
