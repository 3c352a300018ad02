"""Builds and times graphs for ``tools.bench.masks``; for TensorFlow 1.15 (Python 3.7) as well."""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
if tensorflow.__version__ >= "2":
    tf.disable_eager_execution()
CONFIG = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def _write(path):
    definition = tf.get_default_graph().as_graph_def()
    Path(path).write_bytes(definition.SerializeToString())
    return {"nodes": len(definition.node)}


def _variable(name, shape):
    start = tf.random_normal_initializer(stddev=0.05, seed=sum(map(ord, name)))
    return tf.get_variable(name, shape, tf.float32, start)


def _product(shape):
    w = _variable("w", shape)
    if len(shape) == 2:
        return tf.matmul(tf.placeholder(tf.float32, [1, shape[0]], "x"), w)
    x = tf.placeholder(tf.float32, [1, 8, 8, shape[2]], "x")
    return tf.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")


def kernel(path, *shape):
    """One kernel that nothing trains."""
    _product([int(size) for size in shape])
    tf.group(tf.global_variables_initializer(), name="init")
    return _write(path)


def _train(loss):
    step = tf.train.get_or_create_global_step()
    tf.train.MomentumOptimizer(0.001, 0.9).minimize(loss, global_step=step, name="train")
    tf.train.Saver()
    tf.group(tf.global_variables_initializer(), name="init")


def net(path, first):
    """Six convolutions and two dense layers, 9.35 M weights, batch 32, momentum.

    With ``first`` the program itself multiplies by masks, before it is differentiated.
    """

    def kernel(name, shape):
        w = _variable(name, shape)
        if first != "first":
            return w
        ones = tf.ones_initializer()
        return w * tf.get_variable(name + "_mask", shape, tf.float32, ones, trainable=False)

    h = tf.placeholder(tf.float32, [32, 32, 32, 3], "x")
    widths = [(64, 2), (128, 2), (256, 2), (512, 1), (512, 1), (512, 2)]
    for number, (width, stride) in enumerate(widths):
        w = kernel(f"c{number}/w", [3, 3, int(h.shape[3]), width])
        h = tf.nn.relu(tf.nn.conv2d(h, w, [1, stride, stride, 1], "SAME"))
    h = tf.nn.relu(tf.matmul(tf.reshape(h, [32, 2048]), kernel("f0/w", [2048, 344])))
    y = tf.matmul(h, kernel("f1/w", [344, 10]))
    _train(tf.reduce_mean(tf.square(y - 0.1)))
    return _write(path)


def deep(path, kernels):
    """Small dense layers."""
    h = tf.placeholder(tf.float32, [2, 8], "x")
    for number in range(int(kernels)):
        h = tf.tanh(tf.matmul(h, _variable(f"l{number}/w", [8, 8])))
    _train(tf.reduce_sum(h))
    return _write(path)


class _Running:
    def __init__(self, path):
        self.definition = tf.GraphDef.FromString(Path(path).read_bytes())
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(self.definition, name="")
        self.session = tf.Session(graph=graph, config=CONFIG)
        ends = [n.name for n in self.definition.node if n.name.endswith("/Assign")]
        self.session.run([n for n in ends if self._starts(n)])
        self.feeds = {
            n.name + ":0": np.random.RandomState(0).standard_normal(
                [d.size for d in n.attr["shape"].shape.dim]
            )
            for n in self.definition.node
            if n.op == "Placeholder"
        }

    def _starts(self, name):
        node = next(n for n in self.definition.node if n.name == name)
        return node.input[0] + "/Assign" == name

    def ms(self, target):
        start = time.process_time()
        self.session.run(target, self.feeds)
        return (time.process_time() - start) * 1e3


def timed(path, target, rounds):
    """Smallest processor time of running ``target``."""
    running = _Running(path)
    running.feeds = {}
    running.session.run(target)
    return {"ms": min(running.ms(target) for _ in range(int(rounds)))}


def steps(rounds, *paths):
    """Smallest processor time of a training step of each graph, by turns."""
    running = [_Running(path) for path in paths]
    for one in running:
        one.ms("train")
    spent = [[one.ms("train") for one in running] for _ in range(int(rounds))]
    return {"ms": [min(column) for column in zip(*spent)]}


def contrib(rounds, *shape):
    """One mask update of tf.contrib.model_pruning."""
    from tensorflow.contrib.model_pruning.python import pruning

    tf.train.get_or_create_global_step()
    pruning.apply_mask(_variable("w", [int(size) for size in shape]), "scope")
    spec = pruning.get_pruning_hparams().parse("initial_sparsity=0.9,target_sparsity=0.9")
    update = pruning.Pruning(spec).mask_update_op()
    with tf.Session(config=CONFIG) as session:
        session.run(tf.global_variables_initializer())
        spent = []
        for _ in range(int(rounds)):
            start = time.process_time()
            session.run(update)
            spent.append((time.process_time() - start) * 1e3)
    return {"ms": min(spent)}


if __name__ == "__main__":
    commands = {"kernel": kernel, "net": net, "deep": deep, "time": timed, "steps": steps}
    commands["contrib"] = contrib
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
