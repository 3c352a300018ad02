"""Builds and runs nets of both kinds of control flow; runs under TensorFlow 1.15.5 (Python 3.7).

Usage: flow_child.py build KIND v1|v2 GRAPH.pb | run GRAPH.pb VALUES.npz COUNT [COUNT...]
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
tf.disable_eager_execution()
WIDTH = 8


def layer(x, name):
    """Two products and what is not linear between them."""
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        normal = tf.random_normal_initializer(stddev=0.3, seed=sum(map(ord, name)))
        first = tf.get_variable("a", [WIDTH, WIDTH], initializer=normal, use_resource=True)
        second = tf.get_variable("b", [WIDTH, WIDTH], initializer=normal, use_resource=True)
        return tf.tanh(tf.matmul(tf.nn.relu(tf.matmul(x, first)), second))


def pair(a, b):
    """One residual pair."""
    a = a + layer(b, "f")
    return a, b + layer(a, "g")


def loop(a, b, n):
    """As many pairs as ``n`` says."""
    return tf.while_loop(lambda i, *_: i < n, lambda i, a, b: (i + 1, *pair(a, b)), [0, a, b])[1:]


def branch(a, b, n):
    """Pairs in both branches."""
    return tf.cond(n > 1, lambda: pair(*pair(a, b)), lambda: pair(a, b))


def loop_of_branches(a, b, n):
    """A loop of branches of pairs."""

    def body(i, a, b):
        a, b = tf.cond(i > 1, lambda: pair(tf.sin(a), b), lambda: (a * 0.5, b))
        return i + 1, a, b

    return tf.while_loop(lambda i, *_: i < n, body, [0, a, b])[1:]


def call(a, b, n):
    """A function of pairs."""
    del n
    return tensorflow.function(lambda a, b: pair(*pair(a, b)))(a, b)


KINDS = {"loop": loop, "branch": branch, "loop_of_branches": loop_of_branches, "call": call}


def build(kind, flow, path):
    """Writes a training graph."""
    if flow == "v2":
        tf.enable_control_flow_v2()
    else:
        tf.disable_control_flow_v2()
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, WIDTH], name="x")
        n = tf.placeholder(tf.int32, [], name="n")
        for name in ("f", "g"):
            layer(x, name)  # variables are made outside of functions
        first, second = tf.split(layer(x, "stem"), 2, axis=1)
        a, b = KINDS[kind](tf.tile(first, [1, 2]), tf.tile(second, [1, 2]), n)
        loss = tf.reduce_mean(tf.square(a) + b, name="loss")
        grads = tf.gradients(loss, tf.trainable_variables())
        pairs = [(g, v) for g, v in zip(grads, tf.trainable_variables()) if g is not None]
        for number, (grad, _) in enumerate(pairs):
            tf.identity(grad, name=f"grad{number}")
        tf.train.GradientDescentOptimizer(0.1).apply_gradients(pairs, name="train")
        tf.variables_initializer(tf.global_variables(), name="init")
    with open(path, "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())


def run(path, values, counts):
    """Saves loss and gradients for each count, with a training step in between."""
    with tf.Graph().as_default() as graph, open(path, "rb") as file:
        tf.import_graph_def(tf.GraphDef.FromString(file.read()), name="")
    names = {op.name for op in graph.get_operations()}
    number = sum(f"grad{k}" in names for k in range(len(names)))
    fetches = ["loss:0"] + [f"grad{k}:0" for k in range(number)]
    found = {}
    with tf.Session(graph=graph) as session:
        session.run("init")
        for count in counts:
            feeds = {"x:0": np.random.RandomState(0).randn(4, WIDTH), "n:0": count}
            for fetch, value in zip(fetches, session.run(fetches, feeds)):
                found[f"{count} {fetch}"] = value
            session.run("train", feeds)
    np.savez(values, **found)


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(*sys.argv[2:])
    else:
        run(sys.argv[2], sys.argv[3], [int(count) for count in sys.argv[4:]])
