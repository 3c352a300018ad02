"""Small training graphs, built in graph mode with whatever TensorFlow is installed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow

from graphrev.api import verify
from graphrev.io import decode_graph
from graphrev.ir import Graph
from graphrev.passes import Reversible
from graphrev.passes.reversible import ReversiblePlan
from graphrev.pipeline import Run, run

tf: Any = tensorflow.compat.v1
Branch = Callable[[Any, str], Any]


def dense(x: Any, name: str, width: int | None = None, resource: bool = True) -> Any:
    """tanh(x w + b) with deterministic weights."""
    fan, width = int(x.shape[-1]), width or int(x.shape[-1])
    seed = sum(map(ord, tf.get_variable_scope().name + name))
    with tf.variable_scope(name):
        w = tf.get_variable(
            "w",
            [fan, width],
            x.dtype,
            tf.random_normal_initializer(stddev=fan**-0.5, seed=seed),
            use_resource=resource,
        )
        b = tf.get_variable("b", [width], x.dtype, tf.zeros_initializer(), use_resource=resource)
        return tf.tanh(tf.matmul(x, w) + b)


def training(
    f: Branch = dense,
    g: Branch = dense,
    *,
    pairs: int = 2,
    mark: Callable[[], Any] = nullcontext,
    shape: Any = (4, 8),
    dtype: Any = None,
    differentiate: bool = True,
    after: Callable[[Any, Any], Any] | None = None,
) -> Graph:
    """A chain of residual pairs between a stem and a squared loss, with gradients and SGD."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        x = tf.placeholder(dtype or tf.float32, shape, name="x")
        x1, x2 = tf.split(dense(x, "stem", 16), 2, axis=1)
        for number in range(pairs):
            with tf.variable_scope(f"pair{number}"), mark():
                x1 = tf.add(x1, f(x2, "f"), name="y1")
                x2 = tf.add(x2, g(x1, "g"), name="y2")
        out = after(x1, x2) if after else tf.square(x1 + 0.5 * x2)
        loss = tf.reduce_mean(tf.cast(out, tf.float32), name="loss")
        if differentiate:
            tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        return snapshot(graph)


def snapshot(graph: Any) -> Graph:
    """A live graph as graphrev's own."""
    return decode_graph(graph.as_graph_def().SerializeToString())


def rewrite(graph: Graph, **options: Any) -> tuple[Run, ReversiblePlan]:
    """Runs the reversible pass, by structure unless told otherwise."""
    outcome = run(graph, [Reversible(**{"detect": "structural", **options})])
    plan = outcome.steps[0].plan
    assert isinstance(plan, ReversiblePlan)
    return outcome, plan


def assert_same_training(before: Graph, after: Graph, **options: Any) -> None:
    """Both graphs compute the same losses, gradients and updates."""
    outcome = verify(before, after, **options)
    assert outcome.ok, outcome.to_text()


def one_step(graph: Graph, feeds: dict[str, Any], fetch: list[str]) -> list[Any]:
    """Initializes, then runs ``fetch`` once."""
    from graphrev.io import encode_graph

    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        starts = [op for op in live.get_operations() if op.name.endswith("/Assign")]
        session.run(starts)
        return session.run(fetch, feeds)


def batch(rows: int = 4, width: int = 8) -> np.ndarray[Any, Any]:
    """A deterministic batch."""
    return np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
