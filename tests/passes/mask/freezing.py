"""A frozen net, and a program that trains it again; for TensorFlow 1.15 (Python 3.7) and 2.

``python freezing.py build FOLDER`` writes ``frozen.pb`` and what it computes; ``train`` continues
``masked.meta`` from the checkpoint ``start`` and freezes the result into ``final.pb``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
BATCH = {"x:0": np.linspace(-1.0, 1.0, 4 * 6 * 6 * 3).reshape(4, 6, 6, 3)}


def build(folder):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(2)
        h = tf.placeholder(tf.float32, [4, 6, 6, 3], "x")
        for number, width in enumerate((4, 5)):
            shape = [3, 3, int(h.shape[3]), width]
            h = tf.nn.relu(tf.nn.conv2d(h, tf.get_variable(f"c{number}/w", shape), 1, "SAME"))
        h = tf.tanh(tf.matmul(tf.reshape(h, [4, 180]), tf.get_variable("f/w", [180, 8])))
        fixed = tf.constant(np.ones((8, 8), np.float32), name="g/w")
        tf.matmul(h, fixed, transpose_b=True, name="y")
        session.run(tf.global_variables_initializer())
        convert = tf.graph_util.convert_variables_to_constants
        frozen = convert(session, graph.as_graph_def(), ["y"])
        (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
        np.save(str(folder / "y.npy"), session.run("y:0", BATCH))


def train(folder):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.train.import_meta_graph(str(folder / "masked.meta"))
        start = tf.train.Saver()
        loss = tf.reduce_mean(tf.square(graph.get_tensor_by_name("y:0") - 1.0))
        optimizer = tf.train.AdamOptimizer(0.01)
        step = optimizer.minimize(loss, global_step=tf.train.get_global_step())
        session.run(tf.global_variables_initializer())
        start.restore(session, str(folder / "start"))
        first = session.run("y:0", BATCH)
        losses = []
        for _ in range(30):
            losses.append(float(session.run([loss, step], BATCH)[0]))
            # In a run of its own: a step that runs both may read the old masks or the new.
            session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        tf.train.Saver().save(session, str(folder / "end"), write_meta_graph=False)
        convert = tf.graph_util.convert_variables_to_constants
        final = convert(session, graph.as_graph_def(), ["y"])
        (folder / "final.pb").write_bytes(final.SerializeToString())
        np.save(str(folder / "final.npy"), session.run("y:0", BATCH))
        trained = [v.op.name for v in tf.trainable_variables()]
        same = np.array_equal(first, np.load(str(folder / "y.npy")))
        print(json.dumps({"trained": trained, "same": bool(same), "losses": losses}))


if __name__ == "__main__":
    if tensorflow.__version__ >= "2":
        tf.disable_eager_execution()
    {"build": build, "train": train}[sys.argv[1]](Path(sys.argv[2]))
