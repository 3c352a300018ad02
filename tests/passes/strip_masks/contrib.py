"""Nets that ``tf.contrib.model_pruning`` masks, for TensorFlow 1.15 (Python 3.7).

``python contrib.py build FOLDER`` prunes and freezes them; ``run`` runs each ``<net>.small.pb`` and
prints the largest difference of its outputs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.contrib import model_pruning
from tensorflow.contrib.model_pruning.python import pruning

INPUT = np.linspace(-1.0, 1.0, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)


def conv(x):
    for _ in range(5):
        x = model_pruning.masked_conv2d(x, 8, 3)
    return x


def dense(x):
    x = tf.reshape(x, [2, 192])
    for _ in range(3):
        x = model_pruning.masked_fully_connected(x, 16)
    return x


def lstm(x):
    cell = tf.nn.rnn_cell.MultiRNNCell([model_pruning.MaskedBasicLSTMCell(10) for _ in range(2)])
    return tf.nn.dynamic_rnn(cell, tf.reshape(x, [2, 8, 24]), dtype=tf.float32)[0]


def build(folder):
    for net in (conv, dense, lstm):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            tf.set_random_seed(1)
            tf.train.get_or_create_global_step()
            tf.identity(net(tf.placeholder(tf.float32, [2, 8, 8, 3], "x")), name="out")
            spec = pruning.get_pruning_hparams().parse("initial_sparsity=0.7,target_sparsity=0.7")
            update = pruning.Pruning(spec).mask_update_op()
            session.run(tf.global_variables_initializer())
            session.run(update)
            convert = tf.graph_util.convert_variables_to_constants
            frozen = convert(session, graph.as_graph_def(), ["out"])
            (folder / (net.__name__ + ".pb")).write_bytes(frozen.SerializeToString())
            np.save(str(folder / (net.__name__ + ".npy")), session.run("out:0", {"x:0": INPUT}))


def run(folder):
    found = {}
    for net in ("conv", "dense", "lstm"):
        definition = tf.GraphDef.FromString((folder / (net + ".small.pb")).read_bytes())
        with tf.Graph().as_default(), tf.Session() as session:
            tf.import_graph_def(definition, name="")
            wanted = np.load(str(folder / (net + ".npy")))
            found[net] = float(np.abs(session.run("out:0", {"x:0": INPUT}) - wanted).max())
    print(json.dumps(found))


if __name__ == "__main__":
    {"build": build, "run": run}[sys.argv[1]](Path(sys.argv[2]))
