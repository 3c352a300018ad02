"""Layers and marks for the fixture nets; TensorFlow 1.15, Python 3.7."""

import contextlib

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2

PAIR_ATTR = "_graphrev_pair"


@contextlib.contextmanager
def residual_pair(mark):
    """Marks ops as ``graphrev.residual_pair`` does (graphrev itself needs Python 3.10)."""
    value = attr_value_pb2.AttrValue()
    if mark:
        value.list.s.append(mark.encode())
        with tf.get_default_graph()._attr_scope({PAIR_ATTR: value}):
            yield
    else:
        yield


class Net(object):
    """Builds layers with seeds of their own, so that two builds give the same bytes."""

    def __init__(self, resource=True, dtype=tf.float32):
        self.resource = resource
        self.dtype = dtype
        self.seed = 0

    def variable(self, name, shape, scale=None, initializer=None, trainable=True):
        """A variable; normally distributed with deviation ``scale`` unless told otherwise."""
        if initializer is None:
            self.seed += 1
            initializer = tf.random_normal_initializer(
                stddev=scale, seed=self.seed, dtype=self.dtype
            )
        return tf.get_variable(
            name, shape, self.dtype, initializer, use_resource=self.resource, trainable=trainable
        )

    def conv(self, x, channels, name, size=3, stride=1):
        """A convolution without bias, He initialised."""
        with tf.variable_scope(name):
            fan = size * size * int(x.shape[-1])
            kernel = self.variable(
                "kernel", [size, size, int(x.shape[-1]), channels], (2.0 / fan) ** 0.5
            )
            return tf.nn.conv2d(x, kernel, [1, stride, stride, 1], "SAME")

    def batch_norm(self, x, name, momentum=0.9):
        """Training-mode fused batch norm with moving averages updated by UPDATE_OPS."""
        with tf.variable_scope(name):
            depth = int(x.shape[-1])
            ones, zeros = tf.ones_initializer(self.dtype), tf.zeros_initializer(self.dtype)
            gamma = self.variable("gamma", [depth], initializer=ones)
            beta = self.variable("beta", [depth], initializer=zeros)
            mean = self.variable("moving_mean", [depth], initializer=zeros, trainable=False)
            var = self.variable("moving_variance", [depth], initializer=ones, trainable=False)
            y, batch_mean, batch_var = tf.nn.fused_batch_norm(x, gamma, beta, is_training=True)
            for moving, batch in ((mean, batch_mean), (var, batch_var)):
                update = tf.assign_sub(moving, (moving - batch) * (1 - momentum))
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
            return y

    def bn_relu_conv(self, x, channels, name):
        """Batch norm, ReLU, convolution."""
        with tf.variable_scope(name):
            return self.conv(tf.nn.relu(self.batch_norm(x, "bn")), channels, "conv")

    def dense(self, x, width, name, activation=tf.nn.tanh):
        """A fully connected layer with bias."""
        with tf.variable_scope(name):
            fan = int(x.shape[-1])
            kernel = self.variable("kernel", [fan, width], fan**-0.5)
            bias = self.variable("bias", [width], initializer=tf.zeros_initializer(self.dtype))
            y = tf.matmul(x, kernel) + bias
            return activation(y) if activation else y


def classify(net, x, labels, classes=10):
    """Mean over space, a dense layer, the mean cross-entropy."""
    if x.shape.ndims == 4:
        x = tf.reduce_mean(x, [1, 2])
    logits = net.dense(x, classes, "logits", activation=None)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_mean(loss, name="loss")


def train(loss, optimizer, name="train"):
    """Runs the update ops, then the optimizer's step; returns the gradients' names."""
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        pairs = optimizer.compute_gradients(loss)
        op = optimizer.apply_gradients(pairs, name=name)
    tf.add_to_collection(tf.GraphKeys.TRAIN_OP, op)
    return [grad.name for grad, _ in pairs if isinstance(grad, tf.Tensor)]
