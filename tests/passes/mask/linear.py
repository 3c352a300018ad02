"""A net whose gradients are known by hand, for TensorFlow 1.15 (Python 3.7) and 2.

The loss is linear in each product, so the dense gradient of a kernel does not depend on it.
``python linear.py build FOLDER`` writes ``linear.pb``; ``train`` runs each ``*.masked.pb`` and
writes what every variable is after each step beside it.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
STEPS = 9
RATE, MOMENTUM, SQUARES, LEAST = 0.0625, 0.875, 0.9375, 2.0**-20
"""Numbers that float32 holds exactly: optimizers make their constants in it."""
SHAPES = {"plain": (6, 5), "turned": (5, 6), "flat": (30,), "twice": (6, 5)}
"""By kernel; each is read as a matrix of 6 rows and 5 columns."""


def initial(name):
    return np.random.RandomState(len(name)).standard_normal(SHAPES[name])


def fed(step):
    """The inputs and, for each product, what its output is multiplied by."""
    draw = np.random.RandomState(100 + step)
    return {"x:0": draw.standard_normal((4, 6)), "c:0": draw.standard_normal((5, 4, 5))}


def slope(name, step):
    """The dense gradient of a kernel."""
    x, c = fed(step)["x:0"], fed(step)["c:0"]
    place = list(SHAPES).index(name)
    found = x.T @ c[place] + (x.T @ c[4] if name == "twice" else 0.0)
    return found.T if name == "turned" else found.reshape(SHAPES[name])


def program(optimizer="momentum", resource=True, dtype=tf.float64):
    x = tf.cast(tf.placeholder(tf.float64, [4, 6], "x"), dtype)
    c = tf.cast(tf.placeholder(tf.float64, [5, 4, 5], "c"), dtype)
    total = 0.0
    for place, (name, shape) in enumerate(SHAPES.items()):
        start = tf.constant_initializer(initial(name))
        w = tf.get_variable(name, shape, dtype, start, use_resource=resource)
        matrix = tf.transpose(w) if name == "turned" else tf.reshape(w, [6, 5])
        matrix = w if name in ("plain", "twice") else matrix
        total += tf.reduce_sum(tf.matmul(x, matrix) * c[place])
    total += tf.reduce_sum(tf.matmul(x, w) * c[4])
    kinds = {
        "momentum": lambda: tf.train.MomentumOptimizer(RATE, MOMENTUM),
        "adam": lambda: tf.train.AdamOptimizer(RATE, MOMENTUM, SQUARES, LEAST),
    }
    step = tf.train.get_or_create_global_step()
    kinds[optimizer]().minimize(total, global_step=step, name="train")
    tf.train.Saver(name="save")
    tf.group([v.initializer for v in tf.global_variables()], name="init")


def run(definition, steps=STEPS):
    """What every variable is after each step, by name; beside a kernel, by kernel and role."""
    found = {}
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(definition, name="")
        reads = {}
        for node in definition.node:
            kernel, role = (node.attr["_graphrev_" + k].s.decode() for k in ("mask", "role"))
            name = kernel + "/" + role if kernel else node.name
            if node.op == "VariableV2":
                reads[name] = node.name + ":0"
            elif node.op == "VarHandleOp":
                handle = graph.get_tensor_by_name(node.name + ":0")
                kind = node.attr["dtype"].type
                reads[name] = tf.raw_ops.ReadVariableOp(resource=handle, dtype=kind)
        session.run("init")
        for step in range(1, steps + 1):
            session.run("train", fed(step))
            for name, value in session.run(reads).items():
                found.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in found.items()}


def build(folder):
    with tf.Graph().as_default() as graph:
        program(resource=False)
        (folder / "linear.pb").write_bytes(graph.as_graph_def().SerializeToString())


def train(folder):
    for file in folder.glob("*.masked.pb"):
        np.savez(str(file) + ".npz", **run(tf.GraphDef.FromString(file.read_bytes())))


if __name__ == "__main__":
    {"build": build, "train": train}[sys.argv[1]](Path(sys.argv[2]))
