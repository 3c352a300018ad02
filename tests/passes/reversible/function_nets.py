"""Training graphs whose loops, branches and calls are functions, for TensorFlow 2.x and 1.15."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow

from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph
from graphrev.passes import Reversible
from graphrev.pipeline import Run, run

tf: Any = tensorflow.compat.v1
WIDTH, ROWS = 8, 4

Forward = Callable[[Any, Any], Sequence[Any]]
"""Makes outputs from ``x`` and ``n``; the loss is the mean of their squares."""


def weight(name: str, width: int = WIDTH) -> Any:
    """A resource variable that starts with small numbers."""
    normal = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
    return tf.get_variable(name, [width, width], initializer=normal, use_resource=True)


def layer(x: Any, name: str) -> Any:
    """Two products and what is not linear between them, so that four values have to be kept."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        return tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(x, weight("a"))), weight("b")))


def pair(a: Any, b: Any, name: str = "f") -> tuple[Any, Any]:
    """One residual pair."""
    a = a + layer(b, f"{name}0")
    return a, b + layer(a, f"{name}1")


def build(
    forward: Forward, rows: int | None = ROWS, train: bool = True
) -> tuple[Graph, tuple[str, ...]]:
    """The training graph, made with functional control flow, and what to fetch of it."""
    enabled = tf.control_flow_v2_enabled()
    tf.enable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(3)
            x = tf.placeholder(tf.float32, [rows, WIDTH], name="x")
            n = tf.placeholder_with_default(5, [], name="n")
            outputs = forward(x, n)
            loss = tf.add_n([tf.reduce_mean(tf.square(out)) for out in outputs], name="loss")
            variables = tf.trainable_variables()
            grads = tf.gradients(loss, [x, *variables])
            found = [(g, v) for g, v in zip(grads[1:], variables) if g is not None]
            names = [tf.identity(tf.convert_to_tensor(g)).name for g in grads if g is not None]
            optimizer = tf.train.GradientDescentOptimizer(0.1)
            if train and found:
                optimizer.apply_gradients(found, name="train")
            else:
                tf.no_op("train")
            tf.variables_initializer(tf.global_variables(), name="init")
        return decode_graph(graph.as_graph_def().SerializeToString()), (loss.name, *names)
    finally:
        if not enabled:
            tf.disable_control_flow_v2()


def rewrite(graph: Graph, **options: Any) -> tuple[Run, Any]:
    """The run of the pass, and its plan; by structure unless told otherwise."""
    done = run(graph, [Reversible(**{"detect": "structural", **options})])
    return done, done.steps[0].plan


def values(
    graph: Graph,
    names: Sequence[str],
    counts: Sequence[int] = (5,),
    feeds: Mapping[str, Any] | None = None,
    rows: int = ROWS,
    **config: Any,
) -> list[list[Any]]:
    """Fetches ``names`` for each number of iterations, training a step in between."""
    with tf.Graph().as_default() as live:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        x = np.random.RandomState(0).randn(rows, WIDTH).astype(np.float32)
        with tf.Session(graph=live, config=tf.ConfigProto(**config)) as session:
            session.run("init")
            found: list[list[Any]] = []
            for count in counts:
                given = {"x:0": x, "n:0": count, **(feeds or {})}
                found.append(session.run(list(names), given))
                session.run("train", given)
            return found


def assert_same(
    before: Graph, after: Graph, names: Sequence[str], counts: Sequence[int] = (5,), **more: Any
) -> None:
    """Losses and gradients agree, before and after training steps."""
    left, right = (values(graph, names, counts, **more) for graph in (before, after))
    for row, other in zip(left, right):
        for one, two in zip(row, other):
            off = np.linalg.norm(np.subtract(one, two))
            assert off <= 1e-4 * np.linalg.norm(one) + 1e-9, f"off by {off}"


def ops_in_functions(graph: Graph) -> Counter[str]:
    """How often each op occurs in the library."""
    return Counter(node.op for f in graph.functions.values() for node in f.nodes.values())
