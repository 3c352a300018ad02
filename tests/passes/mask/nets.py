"""Small training graphs with kernels of every kind, and what the mask pass makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.ir.marks import kernel_of, role_of
from graphrev.passes import Mask
from graphrev.passes.mask import MaskPlan
from graphrev.pipeline import Run, run
from tests.nets import snapshot, tf

ALL = {"first": "masked", "last": "masked"}
"""Options under which no kernel is kept dense."""


def variable(name: str, shape: list[int], *, resource: bool = False, dtype: Any = None) -> Any:
    """A variable with deterministic normal weights."""
    start = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
    return tf.get_variable(name, shape, dtype or tf.float32, start, use_resource=resource)


def minimize(loss: Any, *, steps: bool = True) -> None:
    """Adds gradients, momentum, a global step, a saver and an initializer."""
    step = tf.train.get_or_create_global_step() if steps else None
    optimizer = tf.train.MomentumOptimizer(0.01, 0.9)
    optimizer.minimize(tf.identity(loss, "loss"), global_step=step, name="train")
    tf.train.Saver(name="save")
    tf.global_variables_initializer()


def built(build: Callable[[], Any], *, steps: bool = True, train: bool = True) -> Graph:
    """The graph of ``build``, which returns its loss."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(3)
        loss = build()
        if train:
            minimize(loss, steps=steps)
        return snapshot(graph)


def convolutions(*, resource: bool = False, dtype: Any = None, decay: float = 1e-3) -> Any:
    """Two convolutions and two dense layers, one transposed, with weight decay."""
    kind = dtype or tf.float32

    def kernel(name: str, shape: list[int]) -> Any:
        return variable(name, shape, resource=resource, dtype=kind)

    x = tf.placeholder(kind, [8, 6, 6, 3], "x")
    h = tf.nn.relu(tf.nn.conv2d(x, kernel("c1/kernel", [3, 3, 3, 4]), 1, "SAME"))
    h = tf.nn.relu(tf.nn.conv2d(h, kernel("c2/kernel", [3, 3, 4, 5]), 1, "SAME"))
    h = tf.reshape(h, [8, 180])
    h = tf.nn.relu(tf.matmul(h, kernel("f1/kernel", [180, 20])))
    y = tf.matmul(h, kernel("f2/kernel", [7, 20]), transpose_b=True)
    weights = [tf.nn.l2_loss(v) for v in tf.trainable_variables()]
    return tf.reduce_mean(tf.square(y)) + decay * tf.add_n(weights)


def mask(graph: Graph, **options: Any) -> tuple[Run, MaskPlan]:
    """Runs the mask pass; no kernel is kept dense unless asked for."""
    outcome = run(graph, [Mask(**{**ALL, **options})])
    plan = outcome.steps[0].plan
    assert isinstance(plan, MaskPlan)
    return outcome, plan


class Session:
    """A graph that runs; its variables are initialized."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._live = tf.Graph()
        with self._live.as_default():
            tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        self._session = tf.Session(graph=self._live)
        self.run([n for n in graph.nodes if n.endswith("Assign") and self._initializes(n)])

    def _initializes(self, name: str) -> bool:
        node = self.graph[name]
        value = self.graph[node.inputs[1].node]
        return not name.startswith(("save/", "model_pruning/c", "model_pruning/f")) and (
            value.op != "RestoreV2" and "Initializer" in value.name
        )

    def run(self, what: Any, feeds: dict[str, Any] | None = None) -> Any:
        return self._session.run(what, feeds)

    def value(self, variable: str) -> Any:
        """A variable's value."""
        node = self.graph[variable]
        if node.op != "VarHandleOp":
            return self.run(f"{variable}:0")
        reads = self.graph.readers[variable]
        return self.run(next(n for n in reads if self.graph[n].op == "ReadVariableOp") + ":0")

    def assign(self, variable: str, value: Any) -> None:
        """Sets a variable through its initializer."""
        node = next(
            n
            for name in self.graph.readers[variable]
            if (n := self.graph[name]).op in ("Assign", "AssignVariableOp")
            and self._initializes(name)
        )
        self.run(node.name, {str(node.inputs[1]): value})


def added(graph: Graph, role: str) -> dict[str, str]:
    """The nodes of a role, by kernel."""
    return {
        kernel_of(node) or "": name for name, node in graph.nodes.items() if role_of(node) == role
    }


def zeros(session: Session) -> dict[str, int]:
    """How many weights each mask drops."""
    masks = added(session.graph, "mask")
    return {k: int((session.value(name) == 0).sum()) for k, name in masks.items()}


def batch(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
