"""Kernels full of ties, for TensorFlow 1.15 (Python 3.7) and 2.

``python ties.py build FOLDER`` writes ``ties.pb``, a net of one product per kernel whose weights
the optimizer leaves as they are; ``train`` runs each ``*.masked.pb`` for 100 steps and writes its
masks beside it.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
STEPS = 100


def kernels():
    """The ties list of ``tf.contrib.model_pruning``'s faults, by variable."""
    draw = np.random.RandomState(1)
    normal = draw.standard_normal((40, 25))
    return {
        "normal": normal,
        "equal": np.full((40, 25), -0.5),
        "grid": draw.randint(-3, 4, (40, 25)).astype(float),
        "zeros": normal * (draw.random_sample((40, 25)) > 0.8),
        "outlier": np.where(np.arange(1000).reshape(40, 25) == 7, 1e4, 1e-3),
        "row": np.ones((1, 3)),
        "one": np.ones((1, 1)),
    }


def build(folder):
    with tf.Graph().as_default() as graph:
        losses = []
        for name, values in kernels().items():
            start = tf.constant_initializer(values)
            w = tf.get_variable(name, values.shape, tf.float32, start, use_resource=False)
            losses.append(tf.reduce_sum(tf.matmul(tf.ones([2, values.shape[0]]), w)))
        step = tf.train.get_or_create_global_step()
        optimizer = tf.train.GradientDescentOptimizer(0.0)
        optimizer.minimize(tf.add_n(losses), global_step=step, name="train")
        tf.group([v.initializer for v in tf.global_variables()], name="init")
        (folder / "ties.pb").write_bytes(graph.as_graph_def().SerializeToString())


def train(folder):
    for file in folder.glob("*.masked.pb"):
        definition = tf.GraphDef.FromString(file.read_bytes())
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(definition, name="")
            session.run("init")
            for _ in range(STEPS):
                session.run("train")
            masks = {
                node.name: node.attr["_graphrev_mask"].s.decode()
                for node in definition.node
                if b"masks" in list(node.attr["_graphrev_collections"].list.s)
            }
            found = {kernel: session.run(mask + ":0") for mask, kernel in masks.items()}
            np.savez(str(file) + ".npz", **found)


if __name__ == "__main__":
    {"build": build, "train": train}[sys.argv[1]](Path(sys.argv[2]))
