"""Marks in the bodies of ``tf.while_loop`` and ``tf.cond`` that are differentiated afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

import graphrev as gr

tf: Any = tensorflow.compat.v1
Step = Callable[[Any, Any], tuple[Any, Any]]
Program = Callable[[Step], list[Any]]
PASSES = ("reversible", "recompute")
X = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)


@pytest.fixture(autouse=True, params=["v1", "v2"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """Control flow of TensorFlow 1, and functional control flow."""
    was_v2 = tf.control_flow_v2_enabled()
    turn = {"v1": tf.disable_control_flow_v2, "v2": tf.enable_control_flow_v2}
    turn[request.param]()
    yield request.param
    turn["v2" if was_v2 else "v1"]()


def weight(name: str) -> Any:
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        return tf.get_variable(name, [8, 8])


def layer(x: Any, name: str) -> Any:
    return tf.tanh(tf.matmul(tf.sigmoid(tf.matmul(x, weight(name))), weight(name)))


def pair(x1: Any, x2: Any) -> tuple[Any, Any]:
    with gr.residual_pair():
        y1 = x1 + layer(x2, "f")
        y2 = x2 + layer(y1, "g")
    return y1, y2


def scope(x1: Any, x2: Any) -> tuple[Any, Any]:
    with gr.recompute_scope():
        a = layer(x1, "f")
        b = layer(a, "g")
    return x2, b


def dropped(x1: Any, x2: Any) -> tuple[Any, Any]:
    """A pair with a random mask, which must not be drawn again."""
    with gr.residual_pair():
        y1 = x1 + layer(x2, "f") * tf.floor(tf.random_uniform([8], seed=3) + 0.5)
        y2 = x2 + layer(y1, "g")
    return y1, y2


STEPS = [pair, scope, dropped]


def start() -> tuple[Any, Any]:
    x = tf.placeholder(tf.float32, [4, 8], name="x")
    weight("f")
    weight("g")
    return x * 1.5, x * 0.5


def repeat(times: int, body: Callable[..., Any], start: tuple[Any, ...]) -> Any:
    """One iteration after the other, so that random ops draw in the same order each time."""

    def test(i: Any, *state: Any) -> Any:
        return i < times

    return tf.while_loop(test, body, (0, *start), parallel_iterations=1)[1:]


def loop(step: Step, times: int = 3) -> list[Any]:
    def body(i: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (i + 1, *step(a, b))

    return list(repeat(times, body, start()))


def loop_of_no_iterations(step: Step) -> list[Any]:
    return loop(step, 0)


def loop_of_two_steps(step: Step) -> list[Any]:
    return loop(lambda a, b: step(*step(a, b)))


def loop_that_mixes(step: Step) -> list[Any]:
    """The streams are no loop variables, and what follows the pair reads them."""

    def mixed(a: Any, b: Any) -> tuple[Any, Any]:
        y1, y2 = step(a + b, a - b)
        return tf.tanh(y1 - y2), y1 * y2

    return loop(mixed)


def branch(step: Step, taken: bool = True) -> list[Any]:
    x1, x2 = start()
    choice = tf.placeholder_with_default(taken, [])
    return list(tf.cond(choice, lambda: step(x1, x2), lambda: (x1 * 2.0, x2)))


def branch_not_taken(step: Step) -> list[Any]:
    return branch(step, taken=False)


def branch_in_loop(step: Step) -> list[Any]:
    def body(i: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (i + 1, *tf.cond(i < 2, lambda: step(a, b), lambda: (a, b)))

    return list(repeat(3, body, start()))


def loop_in_loop(step: Step) -> list[Any]:
    def inner(i: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (i + 1, *step(a, b))

    def outer(j: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (j + 1, *repeat(2, inner, (a, b)))

    return list(repeat(2, outer, start()))


def loop_in_branch(step: Step) -> list[Any]:
    x1, x2 = start()

    def inner(i: Any, a: Any, b: Any) -> tuple[Any, ...]:
        return (i + 1, *step(a, b))

    def taken() -> Any:
        return repeat(2, inner, (x1, x2))

    choice = tf.placeholder_with_default(True, [])
    return list(tf.cond(choice, taken, lambda: (x1, x2)))


PROGRAMS = [
    loop,
    loop_of_no_iterations,
    loop_of_two_steps,
    loop_that_mixes,
    branch,
    branch_not_taken,
    branch_in_loop,
    loop_in_loop,
    loop_in_branch,
]


def loss_of(outputs: list[Any]) -> Any:
    return tf.add_n([tf.reduce_sum(tf.square(y) * (n + 1.0)) for n, y in enumerate(outputs)])


def gradients_of(loss: Any) -> list[Any]:
    graph = tf.get_default_graph()
    names = [op.outputs[0] for op in graph.get_operations() if op.type == "VarHandleOp"]
    reads = {handle.op.name: handle for handle in names}
    x = graph.get_tensor_by_name("x:0")
    return tf.gradients(loss, [x, *(reads[name] for name in sorted(reads))])


def values(gradients: list[Any]) -> list[Any]:
    with tf.Session() as session:
        for op in session.graph.get_operations():
            if op.type == "VarHandleOp":
                seed = sum(op.name.encode())
                value = np.random.default_rng(seed).standard_normal((8, 8)).astype(np.float32)
                session.run(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=value / 3))
        return session.run(gradients, {"x:0": X})


def nodes() -> list[Any]:
    """The nodes of the default graph and of the functions that they run."""
    definition = tf.get_default_graph().as_graph_def()
    library = {function.signature.name: function for function in definition.library.function}
    found = list(definition.node)
    for node in found:
        for attr in node.attr.values():
            for called in (attr.func, *attr.list.func):
                function = library.pop(called.name, None)
                found.extend(() if function is None else function.node_def)
    return found


def saved() -> int:
    """How many tensors a layer computes that an iteration saves for the gradient."""
    found = {node.name: node.op for node in nodes()}
    pushes = [node for node in nodes() if node.op in ("StackPushV2", "TensorListPushBack")]
    sources = [found.get(push.input[1].partition(":")[0]) for push in pushes]
    return sum(source in ("MatMul", "Sigmoid", "Tanh") for source in sources)


def handed_on() -> set[str]:
    """The kinds of ops whose results travel to the gradient."""
    found = nodes()
    kinds = {node.name: node.op for node in found}
    sources = [node.input[1] for node in found if node.op == "TensorListPushBack"]
    sources += [node.input[0] for node in found if node.op == "OptionalFromValue"]
    return {kinds.get(source.partition(":")[0], "") for source in sources}


def carriers() -> int:
    return sum(node.op == "IdentityN" and "_graphrev_region" in node.attr for node in nodes())


def plain(program: Program, step: Step) -> tuple[list[Any], int]:
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        found = values(gradients_of(loss_of(program(step))))
        return found, saved()


def assert_equal(ours: list[Any], theirs: list[Any]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert np.linalg.norm(mine - other) <= 1e-6 * max(np.linalg.norm(other), 1e-9)


def assert_differentiates_itself_after_the_rewrite(program: Program, step: Step) -> None:
    expected, before = plain(program, step)
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        loss = loss_of(program(step))
        report = gr.rewrite(graph, PASSES).report
        assert report.rejections == () and carriers() > 0
        assert_equal(values(gradients_of(loss)), expected)
        if before:
            assert saved() < before


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("kind", ["v1"], indirect=True)
def test_a_live_graph_differentiates_itself_after_the_rewrite(program: Program, step: Step) -> None:
    assert_differentiates_itself_after_the_rewrite(program, step)


@pytest.mark.parametrize(
    ("program", "step"),
    [
        *((program, pair) for program in PROGRAMS),
        *((program, scope) for program in (loop_that_mixes, branch_in_loop, loop_in_branch)),
        *((program, dropped) for program in (loop, branch_in_loop, loop_in_loop)),
    ],
)
@pytest.mark.parametrize("kind", ["v2"], indirect=True)
def test_a_live_graph_runs_rewritten_functions(program: Program, step: Step) -> None:
    assert_differentiates_itself_after_the_rewrite(program, step)


@pytest.mark.parametrize("step", [pair, scope])
@pytest.mark.parametrize("kind", ["v2"], indirect=True)
def test_functions_of_a_differentiated_graph_are_refused_by_name(step: Step) -> None:
    with tf.Graph().as_default() as graph:
        gradients_of(loss_of(branch_in_loop(step)))
        before = graph.as_graph_def().SerializeToString(deterministic=True)
        report = gr.rewrite(graph, PASSES).report
        assert not report.changed
        assert graph.as_graph_def().SerializeToString(deterministic=True) == before
        assert {r.code.value for r in report.rejections} == {"crosses_frame"}
        assert {name for r in report.rejections for name in r.nodes} == {"while"}


@pytest.mark.parametrize("program", [loop_of_two_steps, branch, branch_in_loop])
def test_a_decorated_builder_may_hold_loops_and_branches(program: Program) -> None:
    expected, _ = plain(program, pair)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        outputs = gr.rewritten(*PASSES)(program)(pair)
        assert carriers() > 0
        assert_equal(values(gradients_of(loss_of(outputs))), expected)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_rewritten_offline_differentiates_itself_when_imported(
    program: Program, step: Step, tmp_path: Path
) -> None:
    expected, before = plain(program, step)
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        loss = loss_of(program(step))
        tf.train.export_meta_graph(str(tmp_path / "forward.meta"))
    rewritten = gr.rewrite(tmp_path / "forward.meta", PASSES)
    assert rewritten.report.rejections == ()
    rewritten.save(tmp_path / "rewritten.meta")
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(str(tmp_path / "rewritten.meta"))
        assert carriers() > 0
        assert_equal(values(gradients_of(graph.get_tensor_by_name(loss.name))), expected)
        if before:
            assert saved() < before


@pytest.mark.parametrize("kind", ["v1"], indirect=True)
def test_a_loop_keeps_the_state_and_the_weights_of_an_iteration_and_nothing_else() -> None:
    _, before = plain(loop, pair)
    with tf.Graph().as_default() as graph:
        loss = loss_of(loop(pair))
        gr.rewrite(graph, PASSES)
        gradients_of(loss)
        assert before == 4 and saved() == 0
        pushed = [op.inputs[1].op.type for op in graph.get_operations() if "Push" in op.type]
        assert len(pushed) - pushed.count("ReadVariableOp") == 2


def test_a_second_run_leaves_bodies_alone() -> None:
    with tf.Graph().as_default() as graph:
        loop(pair)
        gr.rewrite(graph, PASSES)
        again = gr.rewrite(graph, PASSES).report
        assert not again.changed
        assert {r.code.value for r in again.rejections} == {"already_rewritten"}


@pytest.mark.parametrize("kind", ["v1"], indirect=True)
def test_a_loop_that_is_differentiated_is_rewritten_there() -> None:
    with tf.Graph().as_default() as graph:
        gradients_of(loss_of(loop(pair)))
        report = gr.rewrite(graph, PASSES).report
        assert report.changed and carriers() == 0
