"""Recurrent training graphs of v1 while loops, for TensorFlow 2.x and 1.15."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.identities import origin
from graphrev.analysis.shapes import infer_shapes
from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.passes.recompute import RecomputePlan
from tests.nets import tf
from tests.passes.recompute.nets import rewrite, trained

ROWS, WIDTH, STEPS = 3, 4, 6
Mark = Callable[[], Any]


@contextmanager
def loops_of_v1() -> Iterator[None]:
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    try:
        yield
    finally:
        if enabled:
            tf.enable_control_flow_v2()


def weight(name: str, shape: Sequence[int], resource: bool = True) -> Any:
    seed = sum(map(ord, name))
    normal = tf.random_normal_initializer(stddev=0.4, seed=seed)
    return tf.get_variable(name, shape, initializer=normal, use_resource=resource)


def lstm(x: Any, c: Any, h: Any, resource: bool = True) -> tuple[Any, Any]:
    """One step of an LSTM cell, as BasicLSTMCell computes it."""
    with tf.variable_scope("cell", reuse=tf.AUTO_REUSE):
        kernel = weight("kernel", [2 * WIDTH, 4 * WIDTH], resource)
        bias = weight("bias", [4 * WIDTH], resource)
    gates = tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), kernel), bias)
    i, j, f, o = tf.split(gates, 4, axis=1)
    c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    return c, tf.tanh(c) * tf.sigmoid(o)


def recurrent(
    step: Callable[..., tuple[Any, Any]] = lstm,
    *,
    mark: Mark = nullcontext,
    rows: int | None = ROWS,
    loss: Callable[[Any, Any, Any], Any] | None = None,
    twice: bool = False,
    batch_first: bool = False,
    unstack: Callable[[Any, Any], Any] = lambda array, x: array.unstack(x),
    write: Callable[[Any, Any, Any], Any] = lambda array, t, h: array.write(t, h),
    stack: Callable[[Any, Any], Any] = lambda array, n: array.gather(tf.range(n)),
    **options: Any,
) -> Graph:
    """An RNN over TensorArrays, as ``dynamic_rnn`` builds it, with gradients and an SGD step.

    ``n`` iterations are run; ``loss(outputs, c, h)`` is minimised. ``twice`` differentiates it by
    ``x`` as well, in a backward pass of its own. ``unstack``, ``write`` and ``stack`` fill the
    inputs' array, write an output and put the outputs together.
    """
    with loops_of_v1(), tf.Graph().as_default():
        tf.set_random_seed(3)
        shape = [rows, STEPS, WIDTH] if batch_first else [STEPS, rows, WIDTH]
        x = tf.placeholder(tf.float32, shape, name="x")
        x = swapped(x) if batch_first else x
        n = tf.placeholder_with_default(STEPS, [], name="n")
        inputs = unstack(tf.TensorArray(tf.float32, STEPS), x)
        outputs = tf.TensorArray(tf.float32, STEPS, element_shape=[rows, WIDTH])

        def body(t: Any, ys: Any, c: Any, h: Any) -> list[Any]:
            xt = inputs.read(t)
            with mark():
                c, h = step(xt, c, h)
            return [t + 1, write(ys, t, h), c, h]

        zeros = tf.zeros_like(x[0])
        start = [0, outputs, zeros, zeros]
        out = tf.while_loop(lambda t, *_: t < n, body, start, name="rnn", **options)
        ys = stack(out[1], n)
        ys = swapped(ys) if batch_first else ys
        found = loss(ys, out[2], out[3]) if loss else tf.reduce_mean(tf.square(out[3] + out[2]))
        found = tf.identity(found, name="loss")
        if twice:
            tf.identity(tf.gradients(found, x)[0], name="gradient_of/x")
        return trained(found)


def swapped(x: Any) -> Any:
    """Time and batch change places, as ``dynamic_rnn`` does it."""
    return tf.transpose(x, tf.concat([[1, 0], tf.range(2, tf.rank(x))], axis=0))


def ops_of(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes.values())


def outcomes(graph: Graph, counts: Sequence[int]) -> list[list[Any]]:
    """Loss, gradients for each number of iterations, with a training step in between."""
    names = ["loss:0", *(f"{n}:0" for n in graph.nodes if n.startswith("gradient_of/"))]
    assert len(names) > 1
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        draw = np.random.default_rng(0)
        x = draw.standard_normal((STEPS, ROWS, WIDTH)).astype(np.float32)
        if live.get_tensor_by_name("x:0").shape[1] == STEPS:
            x = x.swapaxes(0, 1)
        found: list[list[Any]] = []
        for count in counts:
            feeds = {"x:0": x, "n:0": count}
            found.append(session.run(names, feeds))
            session.run("train", feeds)
        return found


def check(graph: Graph, counts: Sequence[int] = (6, 0, 1, 6), **options: Any) -> RecomputePlan:
    """Rewrites the graph: the same bits, sound loops, nothing to do a second time."""
    outcome, plan = rewrite(graph, **options)
    assert plan.loops, [(r.code.value, r.reason) for r in plan.rejections]
    assert find_frames(outcome.after).faults == ()
    for before, after in zip(outcomes(graph, counts), outcomes(outcome.after, counts)):
        for left, right in zip(before, after):
            np.testing.assert_array_equal(left, right)
    again, second = rewrite(outcome.after, **options)
    assert again.after is outcome.after
    assert {r.code.value for r in second.rejections} == {"already_rewritten"}
    return plan


def saved(graph: Graph, **options: Any) -> list[str]:
    """The op types behind what an iteration of the rewritten loop pushes but counts and flows."""
    outcome, _ = rewrite(graph, **options)
    pushes = [node for node in outcome.after.nodes.values() if node.op == "StackPushV2"]
    found = [origin(outcome.after, push.inputs[1]) for push in pushes]
    shapes = infer_shapes(outcome.after)
    ops = (outcome.after[ref.node].op for ref in found if shapes.dims(ref) != ())
    return sorted(op for op in ops if op != "TensorArrayWriteV3")
