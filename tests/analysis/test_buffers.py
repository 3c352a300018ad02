"""Which outputs lie in the buffer of an input: TensorFlow is asked, case by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from graphrev.analysis.buffers import shared_input
from graphrev.ir import Graph, TensorRef
from tests.nets import dense, snapshot, tf

SHAPE = (4, 16)
SHARED: dict[str, Callable[[Any], Any]] = {
    "identity": tf.identity,
    "reshape": lambda v: tf.reshape(v, [-1]),
    "transpose that moves nothing": lambda v: tf.transpose(v, [0, 1]),
    "rows of a slice": lambda v: tf.slice(v, [1, 0], [2, 16]),
    "a row": lambda v: v[1],
    "split along the first axis": lambda v: tf.split(v, 2, 0),
    "uneven split along the first axis": lambda v: tf.split(v, [1, 3], 0),
    "unstack": lambda v: tf.unstack(v, axis=0),
    "stack of one": lambda v: tf.stack([v]),
    "tile once": lambda v: tf.raw_ops.Tile(input=v, multiples=[1, 1]),
    "pad by nothing": lambda v: tf.raw_ops.Pad(input=v, paddings=[[0, 0], [0, 0]]),
    "broadcast to its own shape": lambda v: tf.raw_ops.BroadcastTo(input=v, shape=[4, 16]),
    "cast to its own type": lambda v: tf.raw_ops.Cast(x=v, DstT=tf.float32),
    "sum over no axis": lambda v: tf.raw_ops.Sum(input=v, axis=np.zeros([0], np.int32)),
    "whole band": lambda v: tf.raw_ops.MatrixBandPart(input=v, num_lower=-1, num_upper=-1),
    "sum of one": lambda v: tf.raw_ops.AddN(inputs=[v]),
    "identities": lambda v: tf.identity_n([v, v]),
}
COPIED: dict[str, Callable[[Any], Any]] = {
    "transpose": lambda v: tf.transpose(v, [1, 0]),
    "cast": lambda v: tf.cast(v, tf.float64),
    "sum of two": lambda v: tf.add_n([v, v]),
    "stack of two": lambda v: tf.stack([v, v]),
    "rows looked up": lambda v: tf.gather(v, [0, 1, 2, 3]),
    "deep copy": lambda v: tf.raw_ops.DeepCopy(x=v),
}


def outputs(make: Callable[[Any], Any], value: Any) -> Sequence[Any]:
    made = make(value)
    return made if isinstance(made, list | tuple) else [made]


def changes(make: Callable[[Any], Any]) -> list[bool]:
    """Whether each output changes when the variable is written after it was computed."""
    with tf.Graph().as_default(), tf.Session(config=plainly()) as session:
        variable = tf.Variable(tf.ones(SHAPE), use_resource=False)
        found = outputs(make, variable.value())
        with tf.control_dependencies([t.op for t in found]):
            written = variable.assign_add(tf.ones(SHAPE))
        with tf.control_dependencies([written]):
            later = [tf.cast(t, tf.float64) * 1.0 for t in found]
        session.run(tf.global_variables_initializer())
        first = session.run(found)
        session.run(tf.global_variables_initializer())
        return [bool((a != b).all()) for a, b in zip(first, session.run(later))]


def plainly() -> Any:
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def shares(make: Callable[[Any], Any]) -> list[bool]:
    with tf.Graph().as_default() as live:
        variable = tf.Variable(tf.ones(SHAPE), use_resource=False, name="v")
        found = outputs(make, variable.value())
        names = [(t.op.name, t.value_index) for t in found]
        graph = snapshot(live)
    return [_comes_from(graph, TensorRef(*name)) for name in names]


def _comes_from(graph: Graph, ref: TensorRef) -> bool:
    while (source := shared_input(graph, ref)) is not None:
        ref = source
    return ref.node == "v"


@pytest.mark.parametrize("case", SHARED)
def test_what_tensorflow_hands_on_is_known_to_share_its_inputs_buffer(case: str) -> None:
    assert all(changes(SHARED[case]))
    assert all(shares(SHARED[case]))


@pytest.mark.parametrize("case", COPIED)
def test_what_tensorflow_copies_is_told_from_it(case: str) -> None:
    assert not any(changes(COPIED[case]))
    assert not any(shares(COPIED[case]))


def test_a_transposition_of_axes_of_size_1_may_move_nothing() -> None:
    with tf.Graph().as_default() as live:
        variable = tf.Variable(tf.ones([1, 16]), use_resource=False, name="v")
        name = tf.transpose(variable, [1, 0]).op.name
        graph = snapshot(live)
    assert _comes_from(graph, TensorRef(name))


def test_nothing_is_followed_around_a_loop() -> None:
    with tf.Graph().as_default() as live:
        _, end = tf.while_loop(
            lambda i, _: i < 3,
            lambda i, x: (i + 1, tf.identity(x)),
            [0, dense(tf.ones([2, 2]), "d", resource=False)],
        )
        name = end.op.name
        graph = snapshot(live)
    assert not _comes_from(graph, TensorRef(name))
