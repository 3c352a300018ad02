"""Reversible loops in reversible loops: the outer gradient loop carries the pair through both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from graphrev.analysis import ops
from graphrev.io import decode_graph, encode_graph
from graphrev.ir import Graph, TensorRef
from graphrev.pipeline import Code
from tests.nets import rewrite
from tests.passes.reversible.loop_nets import Net, build, tf
from tests.passes.reversible.test_loops import check, layer, pair
from tools.bench.child import peak

COUNTS = (0, 1, 3)

OuterBody = Callable[[Any, Any, Any, Any], Sequence[Any]]
"""Makes the next pair from the inner loop, the iteration, and the pair."""


def nest(body: OuterBody, count: int = 4, **more: Any) -> Net:
    """A loop of ``count`` iterations around the inner loop, which runs ``n`` times."""

    def around(loop: Any, start: Any, n: Any) -> Any:
        times = tf.placeholder_with_default(count, [], name="times")

        def inner(a: Any, b: Any) -> Any:
            return loop([0, a, b, *start[3:]], "inner")[1:3]

        def outer(j: Any, a: Any, b: Any) -> list[Any]:
            return [j + 1, *body(inner, j, a, b)]

        return tf.while_loop(lambda j, *_: j < times, outer, start[:3], name="outer")

    return Net(pair, around=around, optimizer=slowly, **more)


def slowly() -> Any:
    """An optimizer whose steps leave the nets tame, so that rounding stays rounding."""
    return tf.train.GradientDescentOptimizer(1e-4)


def alone(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    return inner(a, b)


def crossed(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    return inner(b, a)


def pairs_before(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    return inner(*pair(j, a, b)[1:])


def pairs_after(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    return pair(j, *inner(a, b))[1:]


def pairs_around(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    _, a, b = pair(j, a, b)
    a, b = inner(a, b)
    a = a + layer(b, "h")
    b = b - tf.sin(a)
    return b, a


def two_inner_loops(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    return inner(*pair(j, *inner(a, b))[1:])


BODIES = [alone, crossed, pairs_before, pairs_after, pairs_around, two_inner_loops]


def pushed_floats(graph: Graph) -> list[TensorRef]:
    """What of floating point any stack is pushed."""
    values = [node.inputs[1] for node in graph.nodes.values() if node.op == "StackPushV2"]
    dtypes = [ops.output_dtype(graph[ref.node], ref.index) for ref in values]
    return [ref for ref, dtype in zip(values, dtypes) if dtype is None or dtype.is_floating]


@pytest.mark.parametrize("body", BODIES)
def test_no_stream_is_pushed_in_either_loop(body: OuterBody) -> None:
    count = 2 if body is two_inner_loops else 4
    before, after, plan = check(nest(body, count), counts=COUNTS)
    assert pushed_floats(before)
    assert pushed_floats(after) == []
    assert plan.rejections == () and all(loop.carried for loop in plan.loops)


def peak_of(graph: Graph, count: int) -> int:
    """Peak of one step whose outer loop runs ``count`` times, by its allocation records."""
    config = tf.ConfigProto(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        feeds = {"x:0": np.full([4096, 8], 0.1, np.float32), "n:0": 3, "times:0": count}
        session.run("train", feeds, options=options, run_metadata=metadata)
    return peak(metadata)


def test_peak_does_not_grow_with_the_iterations_of_the_outer_loop() -> None:
    live, _ = build(nest(pairs_around, rows=None))
    before = decode_graph(live.as_graph_def().SerializeToString())
    after = rewrite(before)[0].after
    assert peak_of(before, 30) > 2 * peak_of(before, 10)
    assert peak_of(after, 100) <= 1.1 * peak_of(after, 10)


def test_outer_loop_of_no_iterations_hands_the_gradients_through() -> None:
    check(nest(pairs_around, count=0), counts=COUNTS)


def three_deep(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    middle = tf.while_loop(
        lambda k, *_: k < 2,
        lambda k, a, b: [k + 1, *pairs_after(inner, k, a, b)],
        [0, a, b],
        name="middle",
    )
    return pair(j, *middle[1:])[1:]


def test_three_loops_in_each_other_push_no_stream() -> None:
    _, after, plan = check(nest(three_deep, count=2), counts=COUNTS)
    assert pushed_floats(after) == []
    depths = {len(loop.carried_through) for loop in plan.loops}
    assert depths == {0, 1, 2}


def with_a_side(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    a, b = inner(a, b)
    a = a + tf.sin(b) * tf.cast(j, tf.float32)
    return a, b - tf.tanh(a)


def test_what_varies_from_iteration_to_iteration_is_saved_once_in_each() -> None:
    _, after, plan = check(nest(with_a_side), counts=COUNTS)
    assert all(loop.carried for loop in plan.loops)
    pushed = {ref.node for ref in pushed_floats(after)}
    assert pushed and all(after[name].op == "Cast" for name in pushed)


def read_by_the_inner_loop(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    _, a, b = pair(j, a, b)

    def reads(k: Any, c: Any, d: Any) -> list[Any]:
        c = c + tf.sin(d) * tf.tanh(a)
        return [k + 1, c, d + tf.tanh(c)]

    return tf.while_loop(lambda k, *_: k < 2, reads, [0, a, b], name="reads")[1:]


def not_reversible(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    a, b = inner(a, b)
    return tf.sin(a), b


@pytest.mark.parametrize("body", [read_by_the_inner_loop, not_reversible])
def test_what_cannot_be_carried_is_saved_once_in_each_outer_iteration(body: OuterBody) -> None:
    before, after, plan = check(nest(body), counts=COUNTS)
    assert 0 < len(pushed_floats(after)) < len(pushed_floats(before))
    assert {loop.carried_through for loop in plan.loops if loop.carried} == {()}
    circles = [r.code for r in plan.rejections if r.reason.startswith("Not carried through")]
    assert circles == [Code.TRIGGER_CYCLE] * (2 if body is read_by_the_inner_loop else 0)


@pytest.mark.parametrize("options", [{"anchor_every": 2}, {"max_drift": 1e-6}])
def test_where_the_drift_is_bounded_the_outer_loop_saves_its_state(options: Any) -> None:
    _, after, plan = check(nest(alone), counts=COUNTS, **options)
    assert {loop.carried_through for loop in plan.loops} == {()}
    assert pushed_floats(after)


def by_reference(inner: Any, j: Any, a: Any, b: Any) -> Sequence[Any]:
    def reads(k: Any, a: Any, b: Any) -> list[Any]:
        a = a + layer(b, "f", False)
        return [k + 1, a, b + layer(a, "g", False)]

    return tf.while_loop(lambda k, *_: k < 2, reads, [0, a, b], name="reads")[1:]


def test_updates_of_reference_variables_wait_for_the_nest() -> None:
    _, after, plan = check(nest(by_reference), counts=COUNTS)
    assert plan.loops and pushed_floats(after) == []
