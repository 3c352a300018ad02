"""The fixture nets. Each builder fills the default graph and returns what the index says of it.

A builder's result: ``{"shows": text, "pairs": residual pairs a structural search finds,
"marked": whether they carry marks, "gradients": [names]}``.
"""

import tensorflow as tf

from tools.make_fixtures.layers import Net, classify, residual_pair, train

BATCH = 8


def images(size=8, channels=3):
    """An image and a label placeholder."""
    x = tf.placeholder(tf.float32, [BATCH, size, size, channels], name="x")
    return x, tf.placeholder(tf.int32, [BATCH], name="label")


def vectors(width=16, dtype=tf.float32):
    """A vector and a label placeholder; the batch size is open."""
    x = tf.placeholder(dtype, [None, width], name="x")
    return x, tf.placeholder(tf.int32, [None], name="label")


def revnet_of(resource, mark):
    """Five pairs in three stages; with marks where ``mark`` says so."""
    net = Net(resource)
    x, labels = images(16)
    h = net.conv(x, 16, "stem")
    for stage, blocks in enumerate((2, 1, 2)):
        if stage:
            h = net.conv(h, 16, "down%d" % stage, stride=2)
        x1, x2 = tf.split(h, 2, axis=3)
        for block in range(blocks):
            name = "stage%d/block%d" % (stage, block)
            with tf.variable_scope(name), residual_pair(name if mark else None):
                x1 = x1 + net.bn_relu_conv(x2, 8, "f")
                x2 = x2 + net.bn_relu_conv(x1, 8, "g")
        h = tf.concat([x1, x2], 3)
    loss = classify(net, h, labels)
    gradients = train(loss, tf.train.MomentumOptimizer(0.01, 0.9))
    return {"shows": "RevNet: fused batch norm, momentum, three stages", "pairs": 5,
            "marked": mark, "gradients": gradients}


def revnet():
    """Resource variables, marked."""
    return revnet_of(True, True)


def revnet_ref():
    """Reference variables, unmarked."""
    return revnet_of(False, False)


def bench(blocks=16, batch=64, size=32, channels=64):
    """The net of the memory benchmarks: single-stage, BN-ReLU-conv, gradient descent."""
    net = Net()
    x = tf.placeholder(tf.float32, [batch, size, size, 3], name="x")
    labels = tf.placeholder(tf.int32, [batch], name="label")
    x1, x2 = tf.split(net.conv(x, channels, "stem"), 2, axis=3)

    def branch(value, name):
        with tf.variable_scope(name):
            depth = channels // 2
            gamma = net.variable("gamma", [depth], initializer=tf.ones_initializer())
            beta = net.variable("beta", [depth], initializer=tf.zeros_initializer())
            value, _, _ = tf.nn.fused_batch_norm(value, gamma, beta, is_training=True)
            return net.conv(tf.nn.relu(value), depth, "conv")

    for block in range(blocks):
        with tf.variable_scope("block%d" % block):
            x1 = x1 + branch(x2, "f")
            x2 = x2 + branch(x1, "g")
    loss = classify(net, tf.concat([x1, x2], 3), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "the benchmark net, %d blocks" % blocks, "pairs": blocks, "marked": False,
            "gradients": gradients}


def _dense(dtype, pairs=3, marked=True):
    net = Net(dtype=dtype)
    x, labels = vectors(16, dtype)
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(pairs):
        with tf.variable_scope("block%d" % block), residual_pair("pair" if marked else None):
            x1 = x1 + net.dense(x2, 8, "f")
            x2 = x2 + net.dense(x1, 8, "g")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "dense layers in %s" % dtype.name, "pairs": pairs, "marked": marked,
            "gradients": gradients}


def dense_double():
    """float64, one mark around three pairs."""
    return _dense(tf.float64)


def dense_half():
    """float16, unmarked."""
    return _dense(tf.float16, marked=False)


def dense_bfloat16():
    """bfloat16, unmarked."""
    return _dense(tf.bfloat16, marked=False)


def side_inputs():
    """f takes a second placeholder, a captured tensor and a constant; g a tensor of the stem."""
    net = Net(False)
    x, labels = vectors()
    side = tf.placeholder(tf.float32, [None, 8], name="side")
    h = net.dense(x, 16, "stem")
    captured = net.dense(x, 8, "captured")
    x1, x2 = tf.split(h, 2, axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("with_sides"):
            x1 = x1 + net.dense(tf.concat([x2, side], 1), 8, "f") * captured
            x2 = x2 + net.dense(x1, 8, "g") * 0.5 + tf.reduce_mean(h, 1, keepdims=True)
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.AdamOptimizer(0.01))
    return {"shows": "side inputs, captured tensors, Adam, reference variables", "pairs": 3,
            "marked": True, "gradients": gradients}


def dropout():
    """Dropout inside f (unseeded) and g (seeded by the op)."""
    net = Net()
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("drop"):
            x1 = x1 + net.dense(tf.nn.dropout(x2, rate=0.4), 8, "f")
            x2 = x2 + tf.nn.dropout(net.dense(x1, 8, "g"), rate=0.2, seed=7)
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "dropout in f and g", "pairs": 3, "marked": True, "gradients": gradients}


def shared_variables():
    """f of every block shares one kernel; in the last block f is g."""
    net = Net(False)
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(3):
        with tf.variable_scope("shared", reuse=block > 0):
            x1 = x1 + net.dense(x2, 8, "f")
        with tf.variable_scope("shared", reuse=block == 2):
            x2 = x2 + net.dense(x1, 8, "f" if block == 2 else "g%d" % block)
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.MomentumOptimizer(0.1, 0.9))
    return {"shows": "variables shared across pairs", "pairs": 3, "marked": False,
            "gradients": gradients}


def summaries_and_head():
    """Summaries inside f, and an auxiliary loss on an inner activation."""
    net = Net()
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    aux = []
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("seen"):
            inner = net.dense(x2, 8, "f_in")
            tf.summary.histogram("activation", inner)
            tf.summary.scalar("mean", tf.reduce_mean(inner))
            x1 = x1 + net.dense(inner, 8, "f_out")
            x2 = x2 + net.dense(x1, 8, "g")
            aux.append(tf.reduce_mean(tf.square(inner)))
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    tf.summary.scalar("loss", loss)
    tf.identity(tf.summary.merge_all(), name="summary")
    total = tf.add(loss, 0.1 * tf.add_n(aux), name="total_loss")
    gradients = train(total, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "summaries in f, an auxiliary head", "pairs": 3, "marked": True,
            "gradients": gradients}


def sums():
    """Add, AddN of two, Sub on either side, operands in any order, through identities; Split:1."""
    net = Net()
    x, labels = vectors()
    a, b = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    y1 = tf.add_n([net.dense(a, 8, "f0"), b])
    y2 = a - net.dense(y1, 8, "g0")
    y1, y2 = tf.identity(y1), tf.identity(y2)
    z1 = net.dense(y2, 8, "f1") - y1
    z2 = tf.raw_ops.Add(x=net.dense(z1, 8, "g1"), y=y2)
    loss = classify(net, tf.concat([z2, z1], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "every kind of sum; x1 is Split:1", "pairs": 2, "marked": False,
            "gradients": gradients}


def widths():
    """x1 has 8 columns, x2 has 4."""
    net = Net()
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 12, "stem"), [8, 4], axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("uneven"):
            x1 = x1 + net.dense(x2, 8, "f")
            x2 = x2 + net.dense(x1, 4, "g")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    gradients = train(loss, tf.train.GradientDescentOptimizer(0.1))
    return {"shows": "streams of different widths", "pairs": 3, "marked": True,
            "gradients": gradients}


def partitioned():
    """Kernels partitioned in two, devices and colocation set."""
    net = Net(False)
    x, labels = vectors()
    partition = tf.fixed_size_partitioner(2)
    with tf.device("/cpu:0"), tf.variable_scope("net", partitioner=partition):
        x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
        for block in range(3):
            with tf.variable_scope("block%d" % block), residual_pair("parts"):
                x1 = x1 + net.dense(x2, 8, "f")
                x2 = x2 + net.dense(x1, 8, "g")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    pairs = optimizer.compute_gradients(loss, colocate_gradients_with_ops=True)
    tf.add_to_collection("train_op", optimizer.apply_gradients(pairs, name="train"))
    return {"shows": "partitioned variables, devices, colocated gradients", "pairs": 3,
            "marked": True, "gradients": [g.name for g, _ in pairs]}


def two_losses():
    """Two losses on one trunk, each with an optimizer of its own."""
    net = Net()
    x, labels = vectors()
    x1, x2 = tf.split(net.dense(x, 16, "stem"), 2, axis=1)
    for block in range(3):
        with tf.variable_scope("block%d" % block), residual_pair("trunk"):
            x1 = x1 + net.dense(x2, 8, "f")
            x2 = x2 + net.dense(x1, 8, "g")
    loss = classify(net, tf.concat([x1, x2], 1), labels)
    other = tf.reduce_mean(tf.square(x1 - x2), name="other_loss")
    first = tf.train.GradientDescentOptimizer(0.1)
    pairs = first.compute_gradients(loss)
    second = tf.train.GradientDescentOptimizer(0.01)
    more = second.compute_gradients(other)
    steps = [first.apply_gradients(pairs), second.apply_gradients([p for p in more if p[0] is not None])]
    tf.add_to_collection("train_op", tf.group(*steps, name="train"))
    gradients = [g.name for g, _ in pairs + more if g is not None]
    return {"shows": "two losses, two optimizers", "pairs": 3, "marked": True,
            "gradients": gradients}
