"""Fixture nets whose pairs sit in surroundings that a rewrite easily gets wrong."""

import tensorflow as tf

from tools.make_fixtures.layers import Net, classify, residual_pair, train
from tools.make_fixtures.nets import images, revnet_of, vectors
from tools.make_fixtures.stable import unseeded


def revnet_resource():
    """The net of ``revnet`` (resource variables) without marks."""
    return revnet_of(True, False)


def split1():
    """The streams are outputs 2 and 1 of a split in three; output 0 goes round the block."""
    net = Net()
    x, labels = images()
    around, x2, x1 = tf.split(net.conv(x, 12, "stem"), 3, axis=3)
    for block in range(3):
        with tf.variable_scope("block%d" % block):
            x1 = x1 + net.conv(tf.nn.relu(x2), 4, "f")
            x2 = x2 + net.conv(tf.nn.relu(x1), 4, "g")
    loss = classify(net, tf.concat([x2, around, x1], 3), labels)
    gradients = train(loss, tf.train.MomentumOptimizer(0.1, 0.9))
    return {"shows": "the streams are Split:2 and Split:1, in that order", "pairs": 3,
            "marked": False, "gradients": gradients}


def aux_head():
    """A second classifier, with variables of its own, reads an activation inside f of block 1."""
    net = Net()
    x, labels = images()
    x1, x2 = tf.split(net.conv(x, 16, "stem"), 2, axis=3)
    inner = None
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("block"):
            hidden = tf.nn.relu(net.conv(x2, 8, "f_in"))
            x1 = x1 + net.conv(hidden, 8, "f_out")
            x2 = x2 + net.bn_relu_conv(x1, 8, "g")
        inner = hidden if block == 1 else inner
    with tf.variable_scope("aux"):
        logits = net.dense(tf.reduce_mean(inner, [1, 2]), 10, "logits", activation=None)
        aux = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = classify(net, tf.concat([x1, x2], 3), labels)
    total = tf.add(loss, 0.3 * tf.reduce_mean(aux), name="total_loss")
    gradients = train(total, tf.train.MomentumOptimizer(0.1, 0.9))
    return {"shows": "an auxiliary classifier on an activation inside f", "pairs": 3,
            "marked": True, "gradients": gradients}


def dropout_unseeded():
    """Dropout whose random ops have the seeds (0, 0), in f; seeded by the op, in g."""
    unseeded()
    net = Net()
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block):
            x1 = x1 + net.dense(tf.nn.dropout(x2, rate=0.4), 8, "f")
            x2 = x2 + tf.nn.dropout(net.dense(x1, 8, "g"), rate=0.2, seed=7 + block)
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "dropout without any seed in f, with the op's seed in g", "pairs": 3,
            "marked": False, "gradients": gradients}


def devices():
    """Full and partial device strings that change inside a pair; colocated variables."""
    net = Net(False)
    x, labels = vectors()
    with tf.device("/job:localhost/replica:0/task:0/device:CPU:0"):
        x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block), tf.device("/job:localhost/task:0"):
            with tf.device("/cpu:0"):
                f = net.dense(x2, 8, "f")
            with tf.colocate_with(x1.op):
                x1 = x1 + f
            g = net.dense(x1, 8, "g")
            with tf.device(None):
                x2 = x2 + g
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    optimizer = tf.train.MomentumOptimizer(0.1, 0.9)
    pairs = optimizer.compute_gradients(loss, colocate_gradients_with_ops=True)
    tf.add_to_collection("train_op", optimizer.apply_gradients(pairs, name="train"))
    return {"shows": "device strings, colocation, colocated gradients", "pairs": 3,
            "marked": False, "gradients": [g.name for g, _ in pairs]}


def recurrent():
    """An LSTM by tf.nn.dynamic_rnn over sequences of different lengths, its outputs in the loss."""
    x = tf.placeholder(tf.float32, [None, 9, 8], name="x")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    cell = tf.nn.rnn_cell.LSTMCell(8, initializer=tf.random_normal_initializer(stddev=0.4, seed=1))
    outputs, _ = tf.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32)
    loss = tf.reduce_mean(tf.square(outputs - x), name="loss")
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "an LSTM by dynamic_rnn, reference variables", "pairs": 0, "marked": False,
            "gradients": gradients}
