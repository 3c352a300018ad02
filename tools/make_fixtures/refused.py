"""Fixture nets in which nothing, or not everything, may be rewritten."""

import numpy as np
import tensorflow as tf

from tools.make_fixtures.layers import Net, classify, residual_pair, train
from tools.make_fixtures.nets import images, vectors


def plain_resnet():
    """An ordinary pre-activation ResNet: one stream, nothing to rewrite."""
    net = Net()
    x, labels = images()
    h = net.conv(x, 8, "stem")
    for block in range(4):
        with tf.variable_scope("block%d" % block):
            inner = net.bn_relu_conv(h, 8, "a")
            h = h + net.bn_relu_conv(inner, 8, "b")
    loss = classify(net, h, labels)
    gradients = train(loss, tf.train.MomentumOptimizer(0.1, 0.9))
    return {"shows": "an ordinary ResNet", "pairs": 0, "marked": False, "gradients": gradients}


def near_misses():
    """Marked pairs that are none: f reads x1, broadcasting, a stateful op in f."""
    net = Net()
    x, labels = vectors()
    h = net.dense(x, 16, "stem")
    x1, x2 = tf.split(h, 2, axis=1)
    with tf.variable_scope("reads_x1"), residual_pair("reads_x1"):
        y1 = x1 + net.dense(tf.concat([x1, x2], 1), 8, "f")
        y2 = x2 + net.dense(y1, 8, "g")
    with tf.variable_scope("broadcast"), residual_pair("broadcast"):
        z1 = net.dense(y1, 1, "narrow") + net.dense(y2, 8, "f")
        z2 = y2 + net.dense(z1, 8, "g")
    with tf.variable_scope("stateful"), residual_pair("stateful"):
        w1 = z1 + net.dense(_counted(z2), 8, "f")
        w2 = z2 + net.dense(w1, 8, "g")
    loss = classify(net, tf.concat([w1, w2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "near misses", "pairs": 0, "marked": True, "gradients": gradients}


def _counted(x):
    """Sums up what it has seen: a value that is only right if the op runs once a step."""
    seen = tf.get_variable("seen", [], tf.float32, tf.zeros_initializer(), use_resource=False)
    total = tf.assign_add(seen, tf.reduce_mean(x))
    return x + tf.stop_gradient(total) * 0.01


def while_block():
    """Pairs inside a tf.while_loop, unmarked; and a pair outside it."""
    net = Net()
    x, labels = vectors()
    kernel = net.variable("kernel", [8, 8], 0.3)
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)

    def body(step, a, b):
        a = a + tf.tanh(tf.matmul(b, kernel))
        return step + 1, a, b + tf.tanh(tf.matmul(a, kernel))

    shapes = [tf.TensorShape([]), tf.TensorShape([None, 8]), tf.TensorShape([None, 8])]
    _, x1, x2 = tf.while_loop(lambda i, a, b: i < 3, body, [0, x1, x2], shapes)
    x1 = x1 + net.dense(x2, 8, "f")
    x2 = x2 + net.dense(x1, 8, "g")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "a pair in a while loop, a pair behind it", "pairs": 2, "marked": False,
            "gradients": gradients}


def cond_block():
    """A pair inside a tf.cond branch, and two pairs around it."""
    net = Net()
    x, labels = vectors()
    kernel = net.variable("kernel", [8, 8], 0.3)
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    x1 = x1 + net.dense(x2, 8, "f0")
    x2 = x2 + net.dense(x1, 8, "g0")

    def branch():
        a = x1 + tf.tanh(tf.matmul(x2, kernel))
        return a, x2 + tf.tanh(tf.matmul(a, kernel))

    x1, x2 = tf.cond(tf.reduce_sum(x) > 0, branch, lambda: (x1 * 1.5, x2))
    x1 = x1 + net.dense(x2, 8, "f1")
    x2 = x2 + net.dense(x1, 8, "g1")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "a pair in a cond branch, pairs around it", "pairs": 3, "marked": False,
            "gradients": gradients}


def frozen():
    """An inference graph with its weights as constants."""
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    kernel = tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3) / 10, name="kernel")
    tf.nn.softmax(tf.matmul(x, kernel), name="probabilities")
    return {"shows": "a small inference graph", "pairs": 0, "marked": False, "gradients": []}
