"""A program for tf.contrib.model_pruning, run as it is or with its import changed; prints JSON.

Kept to what Python 3.7 and TensorFlow 1.15 know.
"""

import json
import sys

import numpy as np
import tensorflow

if tensorflow.__version__.startswith("1."):
    from tensorflow.contrib import model_pruning as pruning

    tf = tensorflow
else:
    from graphrev import pruning

    tf = tensorflow.compat.v1
    tf.disable_v2_behavior()

SPEC = (
    "begin_pruning_step=2,end_pruning_step=30,pruning_frequency=3,initial_sparsity=0.1,"
    "target_sparsity=0.8,sparsity_function_begin_step=2,sparsity_function_end_step=25,"
    "weight_sparsity_map=[Conv_1:0.55],block_dims_map=[fully_connected/:2x4]"
)


def start(seed):
    def values(shape, dtype=None, partition_info=None):
        return np.random.RandomState(seed).randn(*[int(size) for size in shape]).astype("f")

    return values


def net():
    x = tf.placeholder(tf.float32, [4, 8, 8, 3], name="x")
    h = pruning.masked_conv2d(x, 6, 3, weights_initializer=start(1))
    h = pruning.masked_conv2d(h, 8, [1, 3], stride=2, weights_initializer=start(2))
    h = pruning.masked_fully_connected(tf.reshape(h, [4, -1]), 12, weights_initializer=start(3))
    with tf.variable_scope("rnn", initializer=start(4)):
        cell = pruning.MaskedBasicLSTMCell(5)
        out, _ = cell(h, cell.zero_state(4, tf.float32))
    with tf.variable_scope("head"):
        last = tf.get_variable("w", [5, 2], initializer=start(5))
        return x, tf.matmul(out, pruning.apply_mask(last, tf.get_variable_scope()))


def main(job):
    step = tf.train.get_or_create_global_step()
    x, out = net()
    loss = tf.reduce_mean(tf.square(out - 1.0))
    train = tf.train.GradientDescentOptimizer(0.01).minimize(loss, global_step=step)
    update = pruning.Pruning(pruning.get_pruning_hparams().parse(SPEC)).conditional_mask_update_op()
    found = {"names": [v.op.name for v in tf.global_variables()], "zeros": [], "losses": []}
    for get in ("get_masks", "get_thresholds", "get_weights", "get_masked_weights"):
        found[get] = [item.op.name for item in getattr(pruning, get)()]
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        if job.get("restore"):
            saver.restore(session, job["restore"])
        for number in range(job["steps"]):
            batch = np.random.RandomState(number).randn(4, 8, 8, 3)
            found["losses"].append(float(session.run([loss, train], {x: batch})[0]))
            session.run(update)
            masks = session.run(pruning.get_masks())
            found["zeros"].append([int((mask == 0).sum()) for mask in masks])
        thresholds = session.run(pruning.get_thresholds())
        found["thresholds"] = [round(float(value), 5) for value in thresholds]
        if job.get("save"):
            saver.save(session, job["save"])
    print(json.dumps(found))


main(json.loads(sys.argv[1]))
