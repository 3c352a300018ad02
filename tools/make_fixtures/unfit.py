"""A second net of near misses: unmarked pairs that must not be rewritten."""

import tensorflow as tf

from tools.make_fixtures.layers import Net, classify, train
from tools.make_fixtures.nets import BATCH


def near_misses_unmarked():
    """Integer pairs, a printing op in f, and a pair whose half widens by broadcasting."""
    net = Net()
    x = tf.placeholder(tf.float32, [BATCH, 16], name="x")
    labels = tf.placeholder(tf.int32, [BATCH], name="label")
    rows = _integer_pairs(labels)
    table = net.variable("table", [64, 8], 0.3)
    h = net.dense(x, 14, "stem") + tf.tile(tf.gather(table, rows)[:, :7], [1, 2])
    x1, x2 = tf.split(h, 2, axis=1)
    with tf.variable_scope("prints"):
        told = tf.Print(x2, [tf.shape(x2)], first_n=1, message="near_misses_unmarked: ")
        y1 = x1 + net.dense(told, 7, "f")
        y2 = x2 + net.dense(y1, 7, "g")
    with tf.variable_scope("widens"):
        z1 = y1[:, :1] + net.dense(y2, 7, "f")
        z2 = y2 + net.dense(z1, 7, "g")
    loss = classify(net, tf.concat([z1, z2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "integer pairs, a stateful op in f, broadcasting", "pairs": 0,
            "marked": False, "gradients": gradients}


def _integer_pairs(labels):
    """int32 sums in the shape of a residual pair: exact, but nothing differentiates them."""
    x1, x2 = labels, labels + 3
    for _ in range(2):
        x1 = x1 + tf.floormod(x2 * 5, 7)
        x2 = x2 + tf.floormod(x1 * 3, 5)
    return tf.floormod(x1 + x2, 64)
