"""What TensorArrays of v1 loops are proven to hold, and where nothing is claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.shapes import infer_shapes
from graphrev.analysis.tensor_arrays import Slices, TensorArrays
from graphrev.ir import Graph, TensorRef
from tests.nets import snapshot, tf
from tests.passes.recompute.loop_nets import loops_of_v1

STEPS = 4


def doubled(
    before: Callable[[Any], Any] = lambda x: x,
    behind: Callable[[Any], Any] = lambda y: y,
    *,
    grows: bool = False,
    tamper: Callable[[Any, Any], Any] = lambda array, result: result,
) -> Graph:
    """A loop that reads elements of one array, doubles them, and writes them to another."""
    with loops_of_v1(), tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [2, STEPS, 3], name="x")
        source = tf.TensorArray(tf.float32, STEPS).unstack(before(x))
        target = tf.TensorArray(tf.float32, 0 if grows else STEPS, dynamic_size=grows)

        def body(i: Any, array: Any) -> list[Any]:
            return [i + 1, array.write(i, 2.0 * source.read(i))]

        _, array = tf.while_loop(lambda i, _: i < STEPS, body, [0, target])
        behind(tamper(target, array).stack())
        return snapshot(graph)


def known(graph: Graph, fed: frozenset[TensorRef] = frozenset()) -> dict[str, Slices | None]:
    """What is known of the loop's read and of its write."""
    values = infer_shapes(graph).values

    def numbers(ref: TensorRef) -> tuple[int, ...] | None:
        found = values.get(ref)
        return None if found is None else tuple(n for n in found if isinstance(n, int))

    frames = find_frames(graph)
    arrays = TensorArrays(graph, frames, numbers, fed)
    (loop,) = frames.loops.values()
    (read,) = (n for n, node in graph.nodes.items() if node.op == "TensorArrayReadV3")
    inside = [n for n in graph.nodes if frames.frame(n) == loop.number]
    (write,) = (n for n in inside if graph[n].op == "TensorArrayWriteV3")
    return {"read": arrays.read(read, loop), "written": arrays.written(write, loop)}


def gather_of(graph: Graph) -> str:
    return next(n for n, node in graph.nodes.items() if node.op == "TensorArrayGatherV3")


def test_elements_are_slices_of_what_went_in_and_of_what_comes_out() -> None:
    graph = doubled()
    gathered = TensorRef(gather_of(graph))
    assert known(graph) == {"read": Slices(TensorRef("x"), 0), "written": Slices(gathered, 0)}


@pytest.mark.parametrize(("order", "axis"), [([1, 0, 2], 1), ([2, 0, 1], 2), ([0, 1, 2], 0)])
def test_slices_are_followed_through_transpositions_that_keep_them(
    order: list[int], axis: int
) -> None:
    graph = doubled(lambda x: tf.identity(tf.transpose(x, order)))
    assert known(graph)["read"] == Slices(TensorRef("x"), axis)
    back = [order.index(i) for i in range(3)]
    graph = doubled(behind=lambda y: tf.identity(tf.transpose(y, back, name="t"), name="out"))
    assert known(graph)["written"] == Slices(TensorRef("out"), back.index(0))


@pytest.mark.parametrize("order", [[2, 1, 0], [0, 2, 1]])
def test_slices_that_are_transposed_themselves_are_none(order: list[int]) -> None:
    assert known(doubled(lambda x: tf.transpose(x, order)))["read"] is None
    graph = doubled(behind=lambda y: tf.transpose(y, order))
    assert known(graph)["written"] == Slices(TensorRef(gather_of(graph)), 0)


def test_an_order_that_is_fed_proves_nothing() -> None:
    graph = doubled(lambda x: tf.transpose(x, tf.placeholder(tf.int32, [3])))
    assert known(graph)["read"] is None


def test_the_outputs_are_followed_as_long_as_nobody_else_keeps_them() -> None:
    def two(y: Any) -> None:
        tf.identity(tf.transpose(y, [1, 0, 2]), name="out")
        tf.square(y)

    graph = doubled(behind=two)
    assert known(graph)["written"] == Slices(TensorRef(gather_of(graph)), 0)


def test_an_array_that_grows_is_asked_for_its_size_behind_the_loop() -> None:
    graph = doubled(grows=True)
    assert known(graph)["written"] == Slices(TensorRef(gather_of(graph)), 0)


def test_an_array_that_is_written_behind_the_loop_too_is_not_claimed() -> None:
    graph = doubled(tamper=lambda _, array: array.write(0, tf.zeros([STEPS, 3])))
    assert known(graph)["written"] is None


def test_an_array_that_is_read_before_the_loop_is_done_is_not_claimed() -> None:
    assert known(doubled(tamper=lambda target, _: target))["written"] is None


def test_an_array_whose_handle_an_unknown_op_has_is_not_claimed() -> None:
    graph = doubled()
    handle = next(n for n, node in graph.nodes.items() if node.op == "TensorArrayV3")
    spy = graph[gather_of(graph)].evolve(name="spy", op="Print", inputs=(TensorRef(handle),))
    assert known(Graph.of([*graph.nodes.values(), spy]))["read"] is None


def test_nothing_is_claimed_across_what_is_fed() -> None:
    graph = doubled(lambda x: tf.transpose(x, [1, 0, 2], name="turned"))
    fed = frozenset({TensorRef("turned"), TensorRef(gather_of(graph))})
    assert known(graph, fed) == {"read": Slices(TensorRef("turned"), 0), "written": None}
