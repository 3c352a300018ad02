"""Trains the digits net for ``tools.bench.prune``; for TensorFlow 1.15 (Python 3.7) as well.

Usage: python digits_child.py JOBS.json; prints one line of JSON per job.

The protocol: three convolutions (32, 64, 64; batch norm) and dense layers of 128 and 10; 20 epochs
dense (Adam, 1e-3), then 20 epochs of pruning, the learning rate 1e-4 from 60 % of the steps on.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
BATCH, EPOCHS = 64, 20
RATE, LATE_RATE, LATE = 1e-3, 1e-4, 0.6
CONFIG = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def _kernel(name, shape, wrap):
    fan_in = int(np.prod(shape[:-1]))
    start = tf.random_normal_initializer(stddev=(2.0 / fan_in) ** 0.5)
    with tf.variable_scope(name):
        return wrap(tf.get_variable("kernel", shape, tf.float32, start))


def _norm(x, name, training):
    """Batch norm whose mode is fed, without a branch."""
    width = int(x.shape[-1])
    with tf.variable_scope(name):
        gamma = tf.get_variable("gamma", [width], initializer=tf.ones_initializer())
        beta = tf.get_variable("beta", [width], initializer=tf.zeros_initializer())
        moving = [
            tf.get_variable(key, [width], initializer=start, trainable=False)
            for key, start in (("mean", tf.zeros_initializer()), ("var", tf.ones_initializer()))
        ]
        now = tf.nn.moments(x, [0, 1, 2])
        for variable, value in zip(moving, now):
            step = tf.where(training, 0.1 * (value - variable), tf.zeros_like(value))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_add(variable, step))
        mean, var = (tf.where(training, value, kept) for value, kept in zip(now, moving))
    return tf.nn.batch_normalization(x, mean, var, beta, gamma, 1e-5)


def network(wrap=lambda kernel: kernel, finish=lambda: None):
    """The net with its training op; ``wrap`` masks a kernel, ``finish`` makes an op to run last."""
    x = tf.placeholder(tf.float32, [None, 8, 8, 1], "x")
    label = tf.placeholder(tf.int64, [None], "label")
    training = tf.placeholder_with_default(False, [], "training")
    rate = tf.placeholder_with_default(RATE, [], "rate")
    h = x
    for number, width in enumerate((32, 64, 64)):
        kernel = _kernel(f"conv{number}", [3, 3, int(h.shape[-1]), width], wrap)
        h = tf.nn.conv2d(h, kernel, [1, 1, 1, 1], "SAME")
        h = tf.nn.relu(_norm(h, f"norm{number}", training))
        if number == 1:
            h = tf.nn.max_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    h = tf.reshape(h, [-1, 1024])
    for number, width in enumerate((128, 10)):
        bias = tf.get_variable(f"bias{number}", [width], initializer=tf.zeros_initializer())
        h = tf.matmul(h, _kernel(f"dense{number}", [int(h.shape[1]), width], wrap)) + bias
        h = tf.nn.relu(h) if number == 0 else h
    logits = tf.identity(h, "logits")
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
    loss = tf.reduce_mean(loss, name="loss")
    step = tf.train.get_or_create_global_step()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        tf.train.AdamOptimizer(rate).minimize(loss, global_step=step, name="train")
    finish()
    saver = tf.train.Saver(name="save")
    tf.variables_initializer(tf.global_variables(), name="init")
    return saver


class Running:
    """A session of the net that trains and tells its accuracy."""

    def __init__(self, data, meta, seed, *net):
        self.data = np.load(data)
        self.draw = np.random.RandomState(seed)
        graph = tf.Graph()
        with graph.as_default():
            tf.set_random_seed(seed)
            self.saver = tf.train.import_meta_graph(meta) if meta else network(*net)
        self.session = tf.Session(graph=graph, config=CONFIG)

    def epoch(self, ops, step, total):
        """One epoch, each step running ``ops`` in turn; returns how many steps were taken then.

        ``step`` is how many were taken before, ``total`` how many there will be.
        """
        x, y = self.data["x_train"], self.data["y_train"]
        order = self.draw.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            feeds = {"x:0": x[batch], "label:0": y[batch], "training:0": True}
            feeds["rate:0"] = LATE_RATE if step >= LATE * total else RATE
            for op in ops:
                self.session.run(op, feeds)
            step += 1
        return step

    def accuracy(self, part):
        """The share of right answers, in per cent."""
        logits = self.session.run("logits:0", {"x:0": self.data["x_" + part]})
        return 100.0 * float(np.mean(logits.argmax(1) == self.data["y_" + part]))


def steps_of(data):
    """Training steps in 20 epochs."""
    return EPOCHS * (len(np.load(data)["x_train"]) // BATCH)


def dense(job):
    """Trains from the start, at the full learning rate."""
    with tf.Graph().as_default():
        tf.set_random_seed(job["seed"])
        network().export_meta_graph(job["meta"])
    running = Running(job["data"], job["meta"], job["seed"])
    running.session.run("init")
    for _ in range(EPOCHS):
        running.epoch(["train"], 0, 1e9)
    running.saver.save(running.session, job["save"], write_meta_graph=False)
    return {"test": running.accuracy("test")}


def _pruned(running, job, ops):
    """Trains for 20 epochs; what came of it and the processor time it took."""
    total, step = steps_of(job["data"]), 0
    began = time.process_time()
    for _ in range(EPOCHS):
        step = running.epoch(ops, step, total)
    result = {"seconds": time.process_time() - began, "test": running.accuracy("test")}
    graph = running.session.graph
    variables = {v.op.name: v for v in graph.get_collection("variables")}
    masks = {n: v for n, v in variables.items() if n.rpartition("/")[2] == "mask"}
    kept = running.session.run({name: tf.reduce_sum(v) for name, v in masks.items()})
    result["kept"] = {name: int(value) for name, value in kept.items()}
    return result


def prune(job):
    """Trains on from a checkpoint, with whatever masks the graph has."""
    running = Running(job["data"], job["meta"], job["seed"])
    with running.session.graph.as_default():
        running.saver.restore(running.session, job["restore"])
        return _pruned(running, job, ["train"])


def contrib(job):
    """The same with tf.contrib.model_pruning, all kernels masked: its defaults."""
    from tensorflow.contrib.model_pruning.python import pruning

    total = steps_of(job["data"])
    spec = (
        "begin_pruning_step={0},sparsity_function_begin_step={0},sparsity_function_end_step={1},"
        "target_sparsity={2},pruning_frequency=10"
    ).format(total, total + int(LATE * total), job["sparsity"])

    def finish():
        hparams = pruning.get_pruning_hparams().parse(spec)
        tf.group(pruning.Pruning(hparams).conditional_mask_update_op(), name="update")

    running = Running(job["data"], None, job["seed"], pruning.apply_mask, finish)
    session = running.session
    with session.graph.as_default():
        session.run("init")
        held = dict(tf.train.list_variables(job["restore"]))
        known = [v for v in tf.global_variables() if v.op.name in held]
        tf.train.Saver(known).restore(session, job["restore"])
        return _pruned(running, job, ["train", "update"])


if __name__ == "__main__":
    if tensorflow.__version__ >= "2":
        tf.disable_eager_execution()
    for listed in json.loads(Path(sys.argv[1]).read_text()):
        done = globals()[listed["do"]](listed)
        print(json.dumps(dict(listed, **done)), flush=True)
        tf.reset_default_graph()
