from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graphrev.analysis.frames import control_contexts
from tests.nets import snapshot, tf, training

pytestmark = pytest.mark.usefixtures("control_flow_v1")


def depths(build: Callable[[], Any]) -> dict[str, int]:
    with tf.Graph().as_default() as graph:
        tf.identity(build(), name="after")
        contexts = control_contexts(snapshot(graph))
        names = [op.name for op in graph.get_operations()]
        return {n.rpartition("/")[2]: len(contexts.get(n, ())) for n in names}


def kept(value: Any, name: str) -> Any:
    return tf.identity(value, name=name)


def test_graph_without_control_flow_has_no_contexts() -> None:
    assert control_contexts(training()) == {}


def test_body_of_a_loop_lies_in_it_and_what_follows_does_not() -> None:
    def build() -> Any:
        x = kept(tf.constant(1.0), "before")
        return tf.while_loop(lambda v: v < 9, lambda v: kept(v * x, "inside") + 1, [x])

    found = depths(build)
    assert (found["before"], found["inside"], found["after"]) == (0, 1, 0)


def test_branches_of_a_cond_are_inside_and_its_result_is_not() -> None:
    def build() -> Any:
        x, flag = tf.constant(1.0), tf.placeholder(tf.bool, [])
        return tf.cond(flag, lambda: kept(x * 2, "yes"), lambda: kept(tf.constant(3.0), "no"))

    found = depths(build)
    assert (found["yes"], found["no"], found["after"]) == (1, 1, 0)


def test_contexts_nest() -> None:
    def build() -> Any:
        def body(v: Any) -> Any:
            inner = tf.while_loop(lambda u: u < v, lambda u: kept(u + 1, "deep"), [kept(v, "mid")])
            picked = tf.cond(v > 3, lambda: kept(inner * 2, "picked"), lambda: inner)
            return kept(picked, "merged") + 1

        return tf.while_loop(lambda v: v < 9, body, [tf.constant(1.0)])

    found = depths(build)
    expected = {"mid": 1, "deep": 2, "picked": 2, "merged": 1, "after": 0}
    assert {name: found[name] for name in expected} == expected


def test_two_loops_and_two_branches_are_different_contexts() -> None:
    with tf.Graph().as_default() as graph:
        flag, x = tf.placeholder(tf.bool, []), tf.constant(1.0)
        for name in ("one", "two"):
            tf.while_loop(lambda v: v < 9, lambda v, n=name: kept(v + 1, n), [x])
        tf.cond(flag, lambda: kept(x, "yes"), lambda: kept(x, "no"))
        contexts = control_contexts(snapshot(graph))
    by_name = {name.rpartition("/")[2]: context for name, context in contexts.items()}
    assert len({by_name[name] for name in ("one", "two", "yes")}) == 3
    assert by_name["yes"] == by_name["no"]


def test_gradients_of_a_loop_lie_in_a_loop_of_their_own() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4])
        y = tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: kept(v * x, "inside"), [x])
        (slope,) = tf.gradients(tf.reduce_sum(y), x)
        tf.identity(slope, name="after")
        contexts = control_contexts(snapshot(graph))
        products = [op.name for op in graph.get_operations() if op.type == "Mul"]
    assert "after" not in contexts
    assert all(len(contexts[name]) == 1 for name in products if "gradients/while" in name)
    assert contexts["while/inside"] not in {
        contexts.get(name) for name in products if name.startswith("gradients/")
    }
