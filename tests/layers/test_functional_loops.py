"""The layer calls inside ``tf.while_loop`` and ``tf.cond`` with control flow v2."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow

from tests import test_gradients_in_control_flow as functions
from tests.layers import test_loops_of_tensorflow_1 as v1

tf: Any = tensorflow.compat.v1
pytestmark = pytest.mark.usefixtures("control_flow_v2")


def loop_of_loops(step: v1.Step, x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    return v1.loop(lambda a, b, ours: v1.loop(step, a, b, ours), x1, x2, ours)


def branch_of_loops(step: v1.Step, x1: Any, x2: Any, ours: bool) -> tuple[Any, Any]:
    taken = tf.placeholder_with_default(True, [])
    return tf.cond(taken, lambda: tuple(v1.loop(step, x1, x2, ours)), lambda: (x1, x2))


ROWS = [
    *(
        (step, flow)
        for step in (v1.rev_block, v1.recompute_grad)
        for flow in (v1.loop, v1.branch, v1.loop_of_branches, loop_of_loops, branch_of_loops)
    ),
    *(
        (step, flow)
        for step in (v1.told, v1.wrapper, v1.pairs)
        for flow in (v1.loop, v1.branch, loop_of_loops)
    ),
]


@pytest.mark.parametrize(("step", "flow"), ROWS)
def test_equals_plain_backpropagation_and_hands_on_no_activation(step: v1.Step, flow: Any) -> None:
    found: list[Any] = []
    for ours in (False, True):
        with tf.Graph().as_default(), tf.Session() as session:
            grads = v1.build(step, flow, ours)
            session.run(tf.global_variables_initializer())
            found.append(session.run(grads))
            assert ("Tanh" in functions.handed_on()) != ours
    assert len(found[0]) >= 3
    functions.assert_equal(found[1], found[0])
