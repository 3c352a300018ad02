"""Networks that are recomputed layer by layer, and Networks whose ``call`` is rewritten."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import tensorflow
from tensorflow.python.layers import layers as core_layers

import graphrev as gr
from graphrev.layers import Network, Sequential
from graphrev.layers.errors import LayerRuntimeError

tf: Any = tensorflow.compat.v1
X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


class Deep(Network):
    """Two layers, one of them with inner values and updates, and a Network of two."""

    def __init__(self, **options: Any) -> None:
        super().__init__(name="deep", **options)
        self.first = self.track_layer(Inner())
        self.inner = self.track_layer(Sequential([_dense(), tf.tanh, _dense()]))
        self.last = self.track_layer(_dense())

    def call(self, x: Any, training: bool = False) -> Any:
        return self.last(self.inner(self.first(x, training=training)))


class Inner(core_layers.Layer):
    """Several ops behind one another, a moving average, and a choice by ``training``."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight("kernel", [8, 8], initializer="glorot_uniform")
        self.seen = self.add_weight("seen", [], initializer="zeros", trainable=False)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        h = tf.tanh(tf.matmul(tf.tanh(tf.matmul(x, self.kernel)), self.kernel))
        if training:
            self.add_update(self.seen.assign_add(tf.reduce_sum(h)))
        return h


def _dense() -> Any:
    return core_layers.Dense(8, activation=tf.tanh, kernel_regularizer=tf.nn.l2_loss)


def outcome(**options: Any) -> tuple[list[Any], list[str], list[str]]:
    """Gradients, updates and losses; variable names; names of recomputed ops."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(1)
        net = Deep(**options)
        y = net(tf.constant(X), training=True)
        asked = tf.gradients(tf.reduce_sum(tf.square(y)), net.trainable_variables)
        assert len(net.updates) == 1 and len(net.losses) == 3
        session.run(tf.global_variables_initializer())
        values = session.run([y, *asked, net.losses])
        names = [variable.name for variable in net.variables]
        again = [op.name for op in graph.get_operations() if "recompute" in op.name.split("/")]
        return values, names, again


def test_a_recomputing_network_has_the_same_names_values_and_gradients() -> None:
    plain, names, none = outcome()
    ours, same, again = outcome(recompute=True)
    assert same == names and not none
    for first, second in zip(plain, ours):
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)
    assert any(name.endswith("/Tanh_1") for name in again)


def test_every_tracked_layer_is_a_region_of_its_own() -> None:
    with tf.Graph().as_default() as graph:
        Deep(recompute=True)(tf.constant(X))
        ends = [op for op in graph.get_operations() if op.name.split("/")[-1] == "recompute"]
        assert len(ends) == 3


def test_layers_may_be_called_twice_and_shared() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        found = []
        layer = _dense()
        for recompute in (False, True):
            net = Sequential([layer, layer], recompute=recompute)
            net.track_layer(layer)
            y = net(net(tf.constant(X)))
            found.append(tf.gradients(y, net.trainable_variables[:2]))
        session.run(tf.global_variables_initializer())
        for plain, ours in zip(*session.run(found)):
            np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


def test_a_recomputing_network_is_freed_without_the_garbage_collector() -> None:
    with tf.Graph().as_default():
        gc.collect()
        gc.disable()
        try:
            net = Sequential([_dense()], recompute=True)
            del net
            left = [x for x in gc.get_objects() if type(x) is Sequential]
        finally:
            gc.enable()
    assert not left


def test_eager_calls_say_what_to_do() -> None:
    if not tensorflow.executing_eagerly():
        pytest.skip("eager execution was switched off in this process")
    with pytest.raises(LayerRuntimeError, match=r"tf\.Graph|tf\.function"):
        Sequential([_dense()], recompute=True)(tf.constant(X))


class Reversible(Network):
    """A Network whose ``call`` builds residual pairs and has them rewritten."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [self.track_layer(_dense()) for _ in range(4)]

    @gr.rewritten("reversible")
    def call(self, x: Any) -> Any:
        x1, x2 = x, 2.0 * x
        for f, g in zip(self.blocks[::2], self.blocks[1::2]):
            with gr.residual_pair():
                x1 = x1 + f(x2)
                x2 = x2 + g(x1)
        return x1 * x2


def test_a_call_can_be_rewritten_by_the_decorator() -> None:
    with tf.Graph().as_default() as graph:
        net = Reversible()
        y = net(tf.placeholder(tf.float32, [4, 8]))
        grads = tf.gradients(y, net.trainable_variables)
        assert all(grad is not None for grad in grads)
        assert any("recompute" in op.name.split("/")[:-1] for op in graph.get_operations())
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(grads, {"Placeholder:0": X})
