"""The layers that random programs are made of: all keep the shape they are given."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import tensorflow

tf: Any = tensorflow.compat.v1
BATCH, WIDTH, SIDE = 4, 6, 4


def few(draw: random.Random) -> int:
    """One, or two, or seldom more: many small programs find what few large ones do, and sooner."""
    return draw.choices((1, 2, 3), (12, 5, 1))[0]


class Layers:
    """Draws layers; ``kept`` are tensors that a loss of their own shall read."""

    def __init__(self, draw: random.Random, *, images: bool) -> None:
        self.draw, self.images = draw, images
        self.shape = (SIDE, SIDE, WIDTH) if images else (WIDTH,)
        self.kept: list[Any] = []
        self.side: Any = None
        self.training: Any = tf.placeholder_with_default(draw.random() < 0.5, [], "training")
        self._count = 0
        self._shared: list[str] = []

    def halves(self, x: Any) -> tuple[Any, Any]:
        """Two streams from one input, by a split or by two layers."""
        if self.draw.random() < 0.5:
            joined = tf.concat([self.linear(x), x], -1)
            first, second = tf.split(joined, 2, axis=-1)
            return first, second
        return self.linear(x), self.linear(x)

    def stack(self, h: Any) -> Any:
        """One or two layers."""
        for _ in range(few(self.draw)):
            h = self._layer(h)
        return h

    def closed(self) -> Callable[[Any], Any]:
        """A layer with weights made here and now, for a loop's body."""
        weights = self._weights(self._name())
        scale = self.draw.choice((0.3, 0.5))
        return lambda h: tf.tanh(self._product(h, weights)) * scale

    def linear(self, h: Any) -> Any:
        """A convolution or a matrix product with a bias."""
        name = self._name()
        if self._shared and self.draw.random() < 0.2:
            name = self.draw.choice(self._shared)
        self._shared.append(name)
        with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
            bias = tf.get_variable("bias", [WIDTH], initializer=tf.zeros_initializer())
        return self._product(h, self._weights(name)) + bias

    def _name(self) -> str:
        self._count += 1
        return f"layer{self._count}"

    def _weights(self, name: str) -> Any:
        shape = [3, 3, WIDTH, WIDTH] if self.images else [WIDTH, WIDTH]
        start = tf.random_normal_initializer(stddev=0.3 / (3 if self.images else 1), seed=1)
        with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
            return tf.get_variable("kernel", shape, initializer=start)

    def _product(self, h: Any, weights: Any) -> Any:
        value = tf.convert_to_tensor(weights)
        return tf.nn.conv2d(h, value, 1, "SAME") if self.images else tf.matmul(h, value)

    def _layer(self, h: Any) -> Any:
        kinds = [
            lambda: tf.tanh(self.linear(h)),
            lambda: tf.nn.relu(self.linear(h)),
            lambda: self._norm(h),
            lambda: tf.nn.dropout(h, rate=0.3),
            lambda: h * tf.sigmoid(self.side),
            lambda: self._pieces(h),
            lambda: self._keep(h),
            lambda: self._branch(h),
            lambda: self._watched(h),
            lambda: self._switched(h),
        ]
        return self.draw.choices(kinds, (4, 3, 3, 1, 1, 2, 1, 1, 1, 2))[0]()

    def _norm(self, h: Any) -> Any:
        """Batch norm, fused for images, with moving averages that are updated once a step."""
        with tf.variable_scope(self._name()):
            scale = tf.get_variable("gamma", [WIDTH], initializer=tf.ones_initializer())
            shift = tf.get_variable("beta", [WIDTH], initializer=tf.zeros_initializer())
            moving = tf.get_variable(
                "moving_mean", [WIDTH], initializer=tf.zeros_initializer(), trainable=False
            )
            if self.images:
                y, mean, _ = tf.nn.fused_batch_norm(
                    h, tf.convert_to_tensor(scale), tf.convert_to_tensor(shift)
                )
            else:
                mean, variance = tf.nn.moments(h, [0])
                y = tf.nn.batch_normalization(h, mean, variance, shift, scale, 1e-3)
            if not hasattr(moving, "_get_variable_list"):
                update = tf.assign_sub(moving, (moving - tf.stop_gradient(mean)) * 0.1)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return y

    def _switched(self, h: Any) -> Any:
        """Centred by the batch in training, else by a moving average that every step overwrites."""
        with tf.variable_scope(self._name()):
            moving = tf.get_variable(
                "moving_mean", [WIDTH], initializer=tf.zeros_initializer(), trainable=False
            )
        value = tf.convert_to_tensor(moving)
        axes = list(range(h.shape.rank - 1))

        def by_batch() -> tuple[Any, Any]:
            mean = tf.reduce_mean(h, axes)
            return h - mean, mean

        centred, mean = tf.cond(self.training, by_batch, lambda: (h - value, value + 1.0))
        if not hasattr(moving, "_get_variable_list"):
            # The update must not overtake the read in the branch: the plain program would race.
            mean = tf.stop_gradient(mean + 0.0 * tf.reduce_sum(centred))
            update = tf.assign_sub(moving, (moving - mean) * 0.1)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return centred

    def _pieces(self, h: Any) -> Any:
        left, right = tf.split(h, 2, axis=-1)
        return tf.concat([right, tf.tanh(left)], -1)

    def _keep(self, h: Any) -> Any:
        self.kept.append(h)
        return tf.nn.softplus(h)

    def _branch(self, h: Any) -> Any:
        taken = tf.reduce_sum(tf.stop_gradient(h)) > self.draw.choice((-100.0, 0.0, 100.0))
        return tf.cond(taken, lambda: tf.tanh(h) * 0.7, lambda: h * 0.5)

    def _watched(self, h: Any) -> Any:
        tf.summary.histogram("watched", h)
        return h * 0.7 + tf.square(h) * 0.1
