"""A SavedModel of TensorFlow 2 with a training step, eagerly: made, and trained.

Usage: python -m tests.passes.reversible.saved_model_child save FOLDER | train FOLDER
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tensorflow

import graphrev

tf: Any = tensorflow
ROWS, WIDTH = 4, 8


class Net(tf.Module):
    """Three residual pairs and a region, with a gradient step."""

    def __init__(self) -> None:
        super().__init__()
        draw = np.random.RandomState(0)
        self.weights = [tf.Variable((draw.randn(WIDTH, WIDTH) * 0.3).astype("f")) for _ in range(4)]

    def half(self, x: Any, first: int) -> Any:
        hidden = tf.nn.relu(tf.matmul(x, self.weights[first]))
        return tf.tanh(tf.matmul(hidden, self.weights[first + 1]))

    @tf.function(input_signature=[tf.TensorSpec([ROWS, WIDTH], name="x")])
    def step(self, x: Any) -> Any:
        with tf.GradientTape() as tape:
            a, b = x, tf.sin(x)
            for _ in range(3):
                with graphrev.residual_pair():
                    a = a + self.half(b, 0)
                    b = b + self.half(a, 2)
            with graphrev.recompute_scope():
                c = self.half(self.half(a, 0), 1)
            loss = tf.reduce_mean(tf.square(c) + b)
        for weight, gradient in zip(self.weights, tape.gradient(loss, self.weights)):
            weight.assign_sub(0.1 * gradient)
        return {"loss": loss}


def save(folder: str) -> None:
    net = Net()
    tf.saved_model.save(net, folder, signatures={"train": net.step})


def train(folder: str) -> None:
    """Prints the losses of some steps, and what the weights add up to."""
    loaded = tf.saved_model.load(folder)
    x = tf.constant(np.random.RandomState(1).randn(ROWS, WIDTH).astype("f"))
    losses = [float(loaded.signatures["train"](x=x)["loss"]) for _ in range(5)]
    sums = [float(tf.reduce_sum(tf.abs(v))) for v in loaded.signatures["train"].variables]
    print(json.dumps({"losses": losses, "sums": sums}))


if __name__ == "__main__":
    {"save": save, "train": train}[sys.argv[1]](sys.argv[2])
