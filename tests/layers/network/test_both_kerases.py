"""Networks of layers from TensorFlow and from tf_keras at once."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.layers import layers as core_layers

from graphrev.layers.network import Network, Sequential

pytest.importorskip("tf_keras")
from tf_keras.src.legacy_tf_layers import core as keras_core
from tf_keras.src.legacy_tf_layers import normalization

v1: Any = tf.compat.v1


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    """Names given in eager mode are counted in the default graph, too."""
    v1.reset_default_graph()


class Mixed(Network):
    """Does not hand ``training`` on; every kind of layer is to learn of it anyway."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.ours = self.track_layer(core_layers.Dropout(0.999999))
        self.theirs = self.track_layer(keras_core.Dropout(0.999999))
        self.norm = self.track_layer(normalization.BatchNormalization())

    def call(self, x: Any, training: bool = False) -> Any:
        return [self.ours(x), self.theirs(x), self.norm(x)]


@pytest.mark.parametrize("nested", [False, True])
def test_training_reaches_layers_of_both(nested: bool) -> None:
    net = Mixed()
    outer = Sequential([net]) if nested else net
    ours, theirs, norm = outer(tf.constant([[1.0, 1.0], [3.0, 5.0]]), training=True)
    assert not ours.numpy().any()
    assert not theirs.numpy().any()
    assert abs(norm.numpy().mean()) < 1e-6
    ours, theirs, norm = outer(tf.constant([[1.0, 1.0], [3.0, 5.0]]), training=False)
    assert ours.numpy().all()
    assert theirs.numpy().all()
    assert norm.numpy().mean() > 1.0


def test_they_share_counters_and_use_resource_variables() -> None:
    with tf.Graph().as_default():
        net = Sequential([core_layers.Dense(1), keras_core.Dense(1)], name="n")
        net(tf.ones([1, 1]))
        names = [v.name for v in net.weights]
        kinds = {v.op.type for v in net.weights}
    assert names == ["n/dense/kernel:0", "n/dense/bias:0", "n/dense_1/kernel:0", "n/dense_1/bias:0"]
    assert kinds == {"VarHandleOp"}


def test_batch_norm_updates_are_listed_and_collected_once() -> None:
    with tf.Graph().as_default():
        net = Sequential([Sequential([normalization.BatchNormalization()])])
        for _ in range(2):
            net(tf.ones([2, 2]), training=True)
        assert len(net.updates) == 4  # two for each call
        assert v1.get_collection(v1.GraphKeys.UPDATE_OPS) == net.updates
