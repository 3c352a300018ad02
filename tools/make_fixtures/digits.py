"""Trains a small residual net on digits and freezes it, as somebody did who is gone.

Usage (TensorFlow 1.15.5): python -m tools.make_fixtures.digits tests/fixtures

Reads ``digits.csv.gz`` there (64 pixels from 0 to 16 and the label a line; the test set of "Optical
Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI 1998, CC BY 4.0), writes
``digits.pb.gz``: from ``image`` [batch, 64] to ``probabilities`` [batch, 10].
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

TRAIN, EPOCHS, BATCH = 1347, 30, 64


def conv(x, filters, training, name):
    with tf.variable_scope(name):
        x = tf.layers.conv2d(x, filters, 3, padding="same", use_bias=False)
        return tf.layers.batch_normalization(x, training=training, momentum=0.9, fused=True)


def logits(x, training):
    x = tf.reshape(x / 16.0, [-1, 8, 8, 1])
    x = tf.nn.relu(conv(x, 24, training, "stem"))
    y = tf.nn.relu(conv(x, 24, training, "block/first"))
    x = tf.nn.relu(x + conv(y, 24, training, "block/second"))
    x = tf.layers.max_pooling2d(x, 2, 2)
    x = tf.nn.relu(conv(x, 48, training, "wide"))
    x = tf.layers.dense(tf.layers.flatten(x), 32, tf.nn.relu, name="hidden")
    return tf.layers.dense(x, 10, name="scores")


def train(images, labels, prefix):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        x = tf.placeholder(tf.float32, [None, 64])
        y = tf.placeholder(tf.int64, [None])
        with tf.variable_scope("net"):
            loss = tf.losses.sparse_softmax_cross_entropy(y, logits(x, True))
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            step = tf.train.AdamOptimizer(2e-3).minimize(loss)
        session.run(tf.global_variables_initializer())
        order = np.random.RandomState(0)
        for _ in range(EPOCHS):
            shuffled = order.permutation(TRAIN)
            for start in range(0, TRAIN, BATCH):
                chosen = shuffled[start : start + BATCH]
                session.run(step, {x: images[chosen], y: labels[chosen]})
        return tf.train.Saver().save(session, prefix)


def freeze(prefix):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 64], "image")
        with tf.variable_scope("net"):
            out = logits(x, False)
        tf.nn.softmax(out, name="probabilities")
        tf.train.Saver().restore(session, prefix)
        definition = graph.as_graph_def()
        return tf.graph_util.convert_variables_to_constants(session, definition, ["probabilities"])


def main():
    folder = Path(sys.argv[1])
    with gzip.open(str(folder / "digits.csv.gz")) as source:
        table = np.loadtxt(source, delimiter=",")
    images, labels = table[:, :-1].astype(np.float32), table[:, -1].astype(np.int64)
    frozen = freeze(train(images[:TRAIN], labels[:TRAIN], "/tmp/digits_fixture"))
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(frozen, name="")
        found = session.run("probabilities:0", {"image:0": images[TRAIN:]}).argmax(1)
    print("test accuracy", (found == labels[TRAIN:]).mean())
    with open(str(folder / "digits.pb.gz"), "wb") as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:
            packed.write(frozen.SerializeToString())


if __name__ == "__main__":
    main()
