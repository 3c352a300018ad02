"""Graphs with two losses over marked regions, and what each trains to by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphrev.io import encode_graph
from graphrev.ir import Graph
from graphrev.marks import recompute_scope
from graphrev.passes.recompute import RecomputePlan
from tests.nets import batch, dense, snapshot, tf
from tests.passes.recompute.nets import Layer, residual

FEEDS = {"x:0": batch(), "t1:0": np.ones((4, 8)), "t2:0": -np.ones((4, 8))}
FIRST, SECOND = ("train1", ("x:0", "t1:0")), ("train2", ("x:0", "t2:0"))
TURNS = [(FIRST,), (SECOND,), (FIRST, SECOND, FIRST)]


def stem() -> Any:
    return dense(tf.placeholder(tf.float32, (4, 8), "x"), "stem", 8)


def minimized(value: Any, number: int, variables: Any = None) -> None:
    """A loss with labels and an optimizer of its own."""
    labels = tf.placeholder(tf.float32, (4, 8), f"t{number}")
    loss = tf.reduce_mean(tf.square(value - labels), name=f"loss{number}")
    optimizer = tf.train.GradientDescentOptimizer(0.1)
    optimizer.minimize(loss, None, variables, name=f"train{number}")


def two_optimizers(layer: Layer = residual, *, own: bool = False, resource: bool = True) -> Graph:
    """Three regions, two losses.

    Args:
        own: the second optimizer updates the variables of its own head alone.
    """
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        x = stem()
        for number in range(3):
            with tf.variable_scope(f"region{number}"), recompute_scope("part"):
                x = layer(layer(x, "a"), "b")
        head = dense(x, "head", resource=resource)
        minimized(x, 1)
        heads = [v for v in tf.trainable_variables() if v.name.startswith("head")]
        minimized(head, 2, heads if own else None)
        return snapshot(graph)


def plain(x: Any, name: str) -> Any:
    """A layer of reference variables."""
    with tf.variable_scope(name):
        return x + dense(dense(x, "inner", resource=False), "outer", resource=False)


def trained(graph: Graph, *steps: tuple[str, tuple[str, ...]]) -> Mapping[str, Any]:
    """The variables after running each op with no more than its own feeds.

    Grappler fuses a product with its bias where nothing else reads it, which rounds differently.
    """
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        for op, fed in steps:
            session.run(op, {name: FEEDS[name] for name in fed})
        names = [n for n, node in graph.nodes.items() if node.op in ("VariableV2", "VarHandleOp")]
        reads = [
            name
            if graph[name].op == "VariableV2"
            else next(r for r in graph.readers[name] if graph[r].op == "ReadVariableOp")
            for name in names
        ]
        return dict(zip(names, session.run([f"{read}:0" for read in reads])))


def assert_trains_the_same(before: Graph, after: Graph, steps: Any) -> None:
    expected, found = trained(before, *steps), trained(after, *steps)
    assert expected
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def names(plan: RecomputePlan) -> set[str]:
    return {region.name for region in plan.regions}


BOTH = {"part", "part_pass1", "part_1", "part_1_pass1", "part_2", "part_2_pass1"}
