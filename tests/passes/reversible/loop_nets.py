"""Training graphs of v1 while loops around residual pairs, for TensorFlow 2.x and 1.15."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow

tf: Any = tensorflow.compat.v1
WIDTH, ROWS = 8, 4


def weight(name: str, resource: bool = True, width: int = WIDTH) -> Any:
    seed = sum(map(ord, name))
    normal = tf.random_normal_initializer(stddev=0.3 * (8 / width) ** 0.5, seed=seed)
    return tf.get_variable(name, [width, width], initializer=normal, use_resource=resource)


@dataclass
class Net:
    """What varies from test to test; ``body(i, a, b, *others)`` returns the next values."""

    body: Callable[..., Sequence[Any]]
    others: Callable[[Any, Any], list[Any]] = field(default=lambda x, n: [])
    around: Callable[[Callable[..., Any], Any, Any], Any] | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    rows: int | None = ROWS
    optimizer: Callable[[], Any] = lambda: tf.train.GradientDescentOptimizer(0.01)


def build(net: Net) -> tuple[Any, list[str]]:
    """A live graph with gradients and an optimizer, and the names of loss and gradients."""
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            tf.set_random_seed(3)
            x = tf.placeholder(tf.float32, [net.rows, WIDTH], name="x")
            n = tf.placeholder_with_default(5, [], name="n")
            start = [0, x, x * 2.0, *net.others(x, n)]

            def loop(first: Sequence[Any] = start, name: str = "loop") -> Any:
                return tf.while_loop(lambda i, *_: i < n, net.body, first, name=name, **net.options)

            out = loop() if net.around is None else net.around(loop, start, n)
            loss = tf.reduce_mean(tf.square(out[1]) + tf.square(out[2]))
            for extra in out[3:]:
                value = extra.stack() if isinstance(extra, tf.TensorArray) else extra
                loss += tf.reduce_mean(value)
            loss = tf.identity(loss, name="loss")
            optimizer = net.optimizer()
            pairs = [pair for pair in optimizer.compute_gradients(loss) if pair[0] is not None]
            by_x = tf.identity(tf.gradients(loss, x)[0])
            if pairs:
                optimizer.apply_gradients(pairs, name="train")
            else:
                tf.no_op("train")
            return graph, [loss.name, by_x.name, *(grad.name for grad, _ in pairs)]
    finally:
        if enabled:
            tf.enable_control_flow_v2()


def values(
    serialized: bytes, names: Sequence[str], counts: Sequence[int], **config: Any
) -> list[list[Any]]:
    """Fetches ``names`` for each number of iterations, training a step in between."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.GraphDef.FromString(serialized), name="")
        x = np.random.RandomState(0).randn(ROWS, WIDTH).astype(np.float32)
        assigns = [op for op in graph.get_operations() if op.name.endswith("/Assign")]
        starts = [op for op in assigns if not op.name.startswith("train/")]
        with tf.Session(graph=graph, config=tf.ConfigProto(**config)) as session:
            session.run(starts)
            found: list[list[Any]] = []
            for count in counts:
                feeds = {"x:0": x, "n:0": count}
                found.append(session.run(list(names), feeds))
                session.run("train", feeds)
            return found
