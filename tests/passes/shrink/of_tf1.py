"""A residual net as TensorFlow 1.15 programs build it; for TensorFlow 1.15 (Python 3.7) and 2.

``python of_tf1.py build FOLDER`` writes ``model`` (a checkpoint with its .meta), ``frozen.pb``, the
SavedModel ``exported`` and what the net computes; ``run`` says how far ``small.pb``, ``small.meta``
and the SavedModel ``small`` are from it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
BATCH = {"x:0": np.linspace(-1.0, 1.0, 4 * 16 * 16 * 3).reshape(4, 16, 16, 3)}


def conv(x, name, filters, stride=1, size=3):
    with tf.variable_scope(name):
        dims = [size, size, int(x.shape[-1]), filters]
        w = tf.get_variable("w", dims, initializer=tf.random_normal_initializer(stddev=0.3, seed=1))
        x = tf.nn.conv2d(x, w, [1, stride, stride, 1], "SAME")
        numbers = [
            tf.get_variable(
                key, [filters], initializer=tf.random_uniform_initializer(0.3, 1, seed=2)
            )
            for key in ("gamma", "beta", "moving_mean", "moving_variance")
        ]
        return tf.nn.fused_batch_norm(x, *numbers, is_training=False)[0]


def net(x):
    x = tf.nn.relu(conv(x, "stem", 16, size=5))
    x = tf.nn.max_pool(x, [1, 3, 3, 1], [1, 2, 2, 1], "SAME")
    y = tf.nn.relu(conv(x, "a1", 12))
    x = tf.nn.relu(x + conv(y, "a2", 16))
    y = tf.nn.relu(conv(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), "b1", 12, stride=2))
    x = tf.reshape(y, [-1, int(np.prod(y.shape[1:]))])
    w = tf.get_variable("head/w", [int(x.shape[1]), 5])
    return tf.nn.bias_add(tf.matmul(x, w), tf.get_variable("head/b", [5]), name="y")


DEAD = {"stem/w": [2, 5, 11], "a2/w": [2, 5, 11], "a1/w": [0, 1, 7], "b1/w": [3]}


def build(folder):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(4)
        net(tf.placeholder(tf.float32, [None, 16, 16, 3], "x"))
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            dead = DEAD.get(variable.op.name)
            if dead:
                value = session.run(variable)
                value[..., dead] = 0
                variable.load(value, session)
        np.save(str(folder / "y.npy"), session.run("y:0", BATCH))
        tf.train.Saver().save(session, str(folder / "model"))
        x, y = (graph.get_tensor_by_name(name) for name in ("x:0", "y:0"))
        tf.saved_model.simple_save(session, str(folder / "exported"), {"x": x}, {"y": y})
        convert = tf.graph_util.convert_variables_to_constants
        frozen = convert(session, graph.as_graph_def(), ["y"])
        (folder / "frozen.pb").write_bytes(frozen.SerializeToString())


def run(folder):
    want = np.load(str(folder / "y.npy"))
    far = {}
    with tf.Graph().as_default(), tf.Session() as session:
        definition = tf.GraphDef.FromString((folder / "small.pb").read_bytes())
        tf.import_graph_def(definition, name="")
        far["frozen"] = float(np.abs(session.run("y:0", BATCH) - want).max())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(str(folder / "small.meta")).restore(
            session, str(folder / "small")
        )
        far["variables"] = float(np.abs(session.run("y:0", BATCH) - want).max())
        session.run(tf.global_variables_initializer())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.saved_model.loader.load(session, ["serve"], str(folder / "small"))
        far["saved_model"] = float(np.abs(session.run("y:0", BATCH) - want).max())
    far["scale"] = float(np.abs(want).max())
    print(json.dumps(far))


if __name__ == "__main__":
    {"build": build, "run": run}[sys.argv[1]](Path(sys.argv[2]))
