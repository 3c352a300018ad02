"""What the table cannot say: memory, both Keras kinds in one Network, functions, late layers."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.layers import layers as core_layers

from graphrev.errors import GraphrevError
from graphrev.layers.network import (
    Network,
    NetworkStateError,
    NetworkValueError,
    Sequential,
    restore_network_checkpoint,
    save_network_checkpoint,
)

v1: Any = tf.compat.v1


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    """Names given in eager mode are counted in the default graph, too."""
    v1.reset_default_graph()


class One(Network):
    def __init__(self, name: str | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self.dense = self.track_layer(core_layers.Dense(1, use_bias=False))

    def call(self, x: Any) -> Any:
        return self.dense(x)


def _new_garbage(action: Any) -> list[Any]:
    gc.disable()
    gc.collect()
    flags = gc.get_debug()
    gc.set_debug(gc.DEBUG_SAVEALL)
    before = len(gc.garbage)
    try:
        action()
        gc.collect()
        return gc.garbage[before:]
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        gc.enable()


def test_a_called_network_is_freed_without_the_garbage_collector() -> None:
    one = tf.ones([1, 1])
    assert _new_garbage(lambda: Sequential([One()])(one)) == []


def test_a_deferred_restore_keeps_no_network_alive(tmp_path: Any) -> None:
    saved = One("saved")
    saved(tf.ones([1, 1]))
    prefix = save_network_checkpoint(saved, tmp_path / "c")

    def restore() -> None:
        net = One()
        restore_network_checkpoint(net, prefix)
        net(tf.ones([1, 1]))

    assert [thing for thing in _new_garbage(restore) if isinstance(thing, Network)] == []


def test_graph_mode_works_with_tensorflow_2_behaviour_on() -> None:
    with tf.Graph().as_default():
        net = One("net")
        output = net(tf.ones([1, 1]))
        assert output.name == "net_1/dense/MatMul:0"
        assert [v.name for v in net.variables] == ["net/dense/kernel:0"]
        assert v1.global_variables() == net.variables


def test_call_can_be_replaced_by_a_function() -> None:
    net = One("net")
    net(tf.ones([1, 1]))
    net.dense.variables[0].assign([[17.0]])
    net.call = tf.function(net.call)
    assert net(tf.constant([[2.0]])).numpy().tolist() == [[34.0]]
    assert net(tf.ones([3, 1])).shape == (3, 1)


def test_python_control_flow_in_call_is_converted_inside_a_function() -> None:
    class Choosy(Network):
        def call(self, x: Any) -> Any:
            if tf.reduce_sum(x) > 0.0:
                return x
            return -x

    net = Sequential([Choosy()])
    assert tf.function(lambda x: net(x))(tf.constant([-2.0])).numpy().tolist() == [2.0]


def test_gradients_flow_through_a_function() -> None:
    net = One()
    net(tf.ones([1, 1]))

    @tf.function
    def loss() -> Any:
        return tf.reduce_sum(net(tf.constant([[3.0]])))

    with tf.GradientTape() as tape:
        value = loss()
    assert tape.gradient(value, net.trainable_variables)[0].numpy().tolist() == [[3.0]]


def test_layers_can_be_added_after_the_first_eager_call() -> None:
    net = Sequential([core_layers.Dense(1)], name="s")
    net(tf.ones([1, 1]))
    net.add(core_layers.Dense(1))
    net(tf.ones([1, 1]))
    names = [v.name for v in net.variables]
    assert names == ["s/dense/kernel:0", "s/dense/bias:0", "s/dense_1/kernel:0", "s/dense_1/bias:0"]


def test_training_reaches_a_function_by_its_name() -> None:
    def shifted(x: Any, by: float = 1.0, training: bool | None = None) -> Any:
        return x + by if training else x

    net = Sequential([shifted, lambda x, *, training: x * 2.0 if training else x])
    assert net(tf.constant(1.0), training=True).numpy() == 4.0
    assert net(tf.constant(1.0), training=False).numpy() == 1.0


def test_errors_keep_their_type_through_a_converted_call() -> None:
    class Broken(Network):
        def call(self, x: Any) -> Any:
            return self.get_layer("nothing")(x)

    with tf.Graph().as_default(), pytest.raises(NetworkValueError, match="No such layer: nothing"):
        Broken()(tf.ones([1, 1]))


def test_a_parent_with_a_foreign_scope_is_reported() -> None:
    class Elsewhere(Sequential):
        @property
        def scope_name(self) -> str:
            return "elsewhere"

    with tf.Graph().as_default(), pytest.raises(ValueError, match="must match a nesting"):
        Elsewhere([One("inner")], name="outer")(tf.ones([1, 1]))


@pytest.mark.parametrize("action", ["save", "restore"])
def test_checkpoints_in_graph_mode_say_that_they_need_a_session(tmp_path: Any, action: str) -> None:
    with tf.Graph().as_default():
        net = One("n")
        net(tf.ones([1, 1]))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            prefix = save_network_checkpoint(net, tmp_path / "c")
        with pytest.raises(NetworkStateError, match="default session"):
            if action == "save":
                save_network_checkpoint(net, tmp_path / "d")
            else:
                restore_network_checkpoint(net, prefix)


def test_restore_without_a_session_waits_for_the_initializer(tmp_path: Any) -> None:
    saved = One("saved")
    saved(tf.ones([1, 1]))
    saved.variables[0].assign([[3.0]])
    prefix = save_network_checkpoint(saved, tmp_path)
    with tf.Graph().as_default():
        net = One("other")
        restore_network_checkpoint(net, prefix)
        output = net(tf.ones([1, 1]))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            assert session.run(output).tolist() == [[3.0]]


def test_the_directory_of_a_step_is_not_that_of_a_longer_name(tmp_path: Any) -> None:
    for name, step in (("net", 1), ("net-2", 7)):
        net = One(name)
        net(tf.ones([1, 1]))
        net.variables[0].assign([[float(step)]])
        save_network_checkpoint(net, tmp_path, global_step=step)
    with tf.Graph().as_default():
        fresh = One("net")
        restore_network_checkpoint(fresh, tmp_path)
        fresh(tf.ones([1, 1]))
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            assert session.run(fresh.variables[0]).tolist() == [[1.0]]


def test_a_copy_of_an_uncalled_network_has_a_name_of_its_own() -> None:
    net = One()
    twin = copy.deepcopy(net)
    with pytest.raises(GraphrevError, match="final name"):
        _ = twin.name


def test_scope_name_of_an_anonymous_network_says_that_it_has_no_name() -> None:
    with pytest.raises(NetworkValueError, match="final name"):
        _ = One().scope_name


def test_importing_graphrev_does_not_import_tensorflow() -> None:
    code = "import graphrev, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
