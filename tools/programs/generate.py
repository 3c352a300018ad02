"""Builds a random TensorFlow 1 training graph; everything follows from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import tensorflow

import graphrev
from graphrev.io import decode_graph
from graphrev.ir import Graph
from tools.programs.layers import BATCH, Layers, few

tf: Any = tensorflow.compat.v1
_FEATURES = ("marked", "regions", "images", "resource", "partitioned", "devices", "summaries", "v2")


class Program:
    """One program: a stem, residual pairs and other parts in random order, losses, an optimizer.

    Attributes:
        features: what was switched on, for reports.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"program/{seed}")
        self.seed = seed
        self.features = frozenset(f for f in _FEATURES if self.draw.random() < 0.4)
        self.losses: list[Any] = []

    def build(self) -> Graph:
        """The graph with gradients and training op; every other one records its shapes.

        An exported MetaGraphDef does so, and what reads it holds every node to it.
        """
        with tf.Graph().as_default() as live, control_flow("v2" in self.features):
            tf.set_random_seed(self.seed)
            with self._variables(), self._device():
                self._net()
                self._train()
            return decode_graph(
                live.as_graph_def(add_shapes=self.seed % 2 == 1).SerializeToString()
            )

    def _variables(self) -> Any:
        parts = self.draw.choice((2, 3))
        split = tf.fixed_size_partitioner(parts) if "partitioned" in self.features else None
        resource = "resource" in self.features
        return tf.variable_scope("net", partitioner=split, use_resource=resource)

    def _device(self) -> Any:
        if "devices" not in self.features:
            return nullcontext()
        places = ("/cpu:0", "/job:worker/task:0", tf.train.replica_device_setter(ps_tasks=1))
        return tf.device(self.draw.choice(places))

    def _net(self) -> None:
        layers = Layers(self.draw, images="images" in self.features)
        x = tf.placeholder(tf.float32, [BATCH, *layers.shape], "x")
        layers.side = layers.linear(x)
        x1, x2 = layers.halves(x)
        for _ in range(few(self.draw)):
            x1, x2 = self._part(layers, x1, x2)
        self.losses.append(tf.reduce_mean(tf.square(x1) + tf.tanh(x2), name="loss"))
        self.losses += [0.1 * tf.reduce_mean(tf.square(kept)) for kept in layers.kept[:2]]
        if "summaries" in self.features:
            tf.summary.scalar("loss_summary", self.losses[0])

    def _part(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        kinds: list[Callable[..., tuple[Any, Any]]] = [self._pairs] * 5
        kinds += [self._region, self._loop, self._plain, self._called]
        return self.draw.choice(kinds)(layers, x1, x2)

    def _pairs(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        mark = graphrev.residual_pair if "marked" in self.features else nullcontext
        for _ in range(few(self.draw)):
            with mark():
                x1 = self._add(x1, layers.stack(x2))
                x2 = self._add(x2, layers.stack(x1))
        return (x2, x1) if self.draw.random() < 0.2 else (x1, x2)

    def _add(self, x: Any, h: Any) -> Any:
        return self.draw.choice(
            (
                lambda: x + h,
                lambda: h + x,
                lambda: x - h,
                lambda: tf.add_n([h, x]),
                lambda: tf.identity(x + h),
            )
        )()

    def _region(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        scope = graphrev.recompute_scope if "regions" in self.features else nullcontext
        with scope():
            return layers.stack(x1), x2

    def _plain(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        return layers.stack(x1), x2 * 0.9

    def _called(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        """A function of the library, called by name."""
        body = self.draw.choice((tf.tanh, tf.nn.softplus, lambda h: h * tf.sigmoid(h)))
        function = tensorflow.function(lambda h: body(h), autograph=False)
        return x1 + function(x2), x2

    def _loop(self, layers: Layers, x1: Any, x2: Any) -> tuple[Any, Any]:
        """A while loop over the pair; its weights are made outside."""
        f, g = layers.closed(), layers.closed()
        turns = self.draw.randint(1, 3)

        def body(i: Any, a: Any, b: Any) -> Any:
            a = a + f(b)
            return i + 1, a, b + g(a)

        _, x1, x2 = tf.while_loop(lambda i, *_: i < turns, body, (tf.constant(0), x1, x2))
        return x1, x2

    def _train(self) -> None:
        choices = [
            lambda: tf.train.GradientDescentOptimizer(0.1),
            lambda: tf.train.MomentumOptimizer(0.1, 0.9),
            lambda: tf.train.AdamOptimizer(0.01),
        ]
        step = tf.train.get_or_create_global_step()
        optimizer = self.draw.choice(choices)()
        updates = tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        first = self.draw.random() < 0.5
        total = tf.add_n(self.losses, name="total")
        with updates if first else nullcontext():
            gradients = optimizer.compute_gradients(total)
        with nullcontext() if first else updates:
            optimizer.apply_gradients(gradients, step, name="train")


@contextmanager
def control_flow(second: bool) -> Iterator[None]:
    """Builds loops and branches as functions (v2) or as v1 control flow."""
    was = tf.control_flow_v2_enabled()
    (tf.enable_control_flow_v2 if second else tf.disable_control_flow_v2)()
    try:
        yield
    finally:
        (tf.enable_control_flow_v2 if was else tf.disable_control_flow_v2)()
