"""Single-stream training graphs with marked regions, and what one trains to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.marks import recompute_scope
from graphrev.passes import Recompute
from graphrev.passes.recompute import RecomputePlan
from graphrev.pipeline import Run, run
from tests.nets import batch, dense, snapshot, tf

Layer = Callable[[Any, str], Any]


def residual(x: Any, name: str) -> Any:
    """x + tanh(tanh(x w + b) v + c)."""
    with tf.variable_scope(name):
        return x + dense(dense(x, "inner"), "outer")


def trained(loss: Any) -> Graph:
    """The default graph with gradients of ``loss`` and an SGD step called ``train``."""
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    pairs = [pair for pair in optimizer.compute_gradients(loss) if pair[0] is not None]
    for gradient, variable in pairs:
        tf.identity(gradient, name=f"gradient_of/{variable.op.name}")
    optimizer.apply_gradients(pairs, name="train")
    return snapshot(tf.get_default_graph())


def chain(
    layer: Layer = residual, *, regions: int = 3, depth: int = 2, shape: Any = (4, 8)
) -> Graph:
    """Regions of ``depth`` layers one behind the other, trained on a squared loss."""
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        x = dense(tf.placeholder(tf.float32, shape, name="x"), "stem", 8)
        for number in range(regions):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                for place in range(depth):
                    x = layer(x, f"layer{place}")
        return trained(tf.reduce_mean(tf.square(x), name="loss"))


def rewrite(graph: Graph, **options: Any) -> tuple[Run, RecomputePlan]:
    """Runs the recompute pass."""
    outcome = run(graph, [Recompute(**options)])
    plan = outcome.steps[0].plan
    assert isinstance(plan, RecomputePlan)
    return outcome, plan


def outcome_of(graph: Graph, names: list[str], steps: int = 3, rows: int = 4) -> list[Any]:
    """Fetches ``names`` in each of some training steps; the variables' values come last."""
    values: list[Any] = []
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        for _ in range(steps):
            fetched = session.run([*names, "train"], {"x:0": batch(rows)})
            values.extend(fetched[:-1])
        values.extend(session.run(_variables(live)))
    return values


def _variables(live: Any) -> list[Any]:
    ops = live.get_operations()
    reads = [op for op in ops if op.name.endswith("/Read/ReadVariableOp")]
    return [op.outputs[0] for op in (*reads, *(op for op in ops if op.type == "VariableV2"))]


def assert_same_bits(before: Graph, after: Graph, **options: Any) -> None:
    """Both graphs give the very same losses, gradients and trained variables."""
    names = ["loss:0", *(f"{name}:0" for name in before.nodes if name.startswith("gradient_of/"))]
    assert len(names) > 1
    for old, new in zip(outcome_of(before, names, **options), outcome_of(after, names, **options)):
        np.testing.assert_array_equal(old, new)
