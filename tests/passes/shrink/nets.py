"""Small frozen nets with dead filters, and running a graph before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow

import graphrev as gr
from graphrev.passes import Shrink
from graphrev.passes.shrink import ShrinkPlan
from graphrev.pipeline import Rejection

tf: Any = tensorflow.compat.v1
Build = Callable[["Net", Any], Any]


_PLAIN = tf.ConfigProto()
_PLAIN.graph_options.rewrite_options.disable_meta_optimizer = True
"""TensorFlow 2.21 cannot run some of what its Grappler fuses (a batch norm and a tanh)."""


class Net:
    """Makes layers of constants; filters that are listed as dead are zero."""

    def __init__(self, seed: int = 0, data_format: str = "NHWC") -> None:
        self.rng = np.random.RandomState(seed)
        self.data_format = data_format

    def kernel(self, dims: Sequence[int], dead: Sequence[int] = (), name: str = "w") -> Any:
        value = self.rng.normal(size=dims).astype(np.float32) * 0.3
        value[..., list(dead)] = 0
        return tf.constant(value, name=name)

    def vector(self, size: int, name: str = "b", positive: bool = False) -> Any:
        value = self.rng.normal(size=size).astype(np.float32)
        return tf.constant(np.abs(value) + 0.3 if positive else value, name=name)

    def width(self, x: Any) -> int:
        return int(x.shape[1 if self.data_format == "NCHW" else -1])

    def conv(
        self,
        x: Any,
        filters: int,
        dead: Sequence[int] = (),
        size: int = 3,
        padding: str = "SAME",
        stride: int = 1,
        name: str = "conv",
    ) -> Any:
        with tf.name_scope(name):
            w = self.kernel([size, size, self.width(x), filters], dead)
            steps = [1, 1, stride, stride] if self.data_format == "NCHW" else [1, stride, stride, 1]
            return tf.nn.conv2d(x, w, steps, padding, data_format=self.data_format)

    def bias(self, x: Any) -> Any:
        return tf.nn.bias_add(x, self.vector(self.width(x)), data_format=self.data_format)

    def norm(self, x: Any) -> Any:
        size = self.width(x)
        with tf.name_scope("norm"):
            return tf.nn.fused_batch_norm(
                x,
                self.vector(size, "scale"),
                self.vector(size, "offset"),
                self.vector(size, "mean"),
                self.vector(size, "variance", positive=True),
                is_training=False,
                data_format=self.data_format,
            )[0]

    def dense(self, x: Any, units: int, dead: Sequence[int] = (), name: str = "dense") -> Any:
        with tf.name_scope(name):
            w = self.kernel([int(x.shape[-1]), units], dead)
            return tf.nn.bias_add(tf.matmul(x, w), self.vector(units))


def built(build: Build, shape: Sequence[int | None] = (None, 8, 8, 3), **options: Any) -> Any:
    """The GraphDef of a net whose input is ``x`` and whose result is ``y``."""
    with tf.Graph().as_default() as graph:
        net = Net(**options)
        x = tf.placeholder(tf.float32, shape, name="x")
        tf.identity(build(net, x), name="y")
        return graph.as_graph_def()


def outputs(graph_def: Any, x: np.ndarray, fetch: str = "y:0") -> np.ndarray:
    with tf.Graph().as_default():
        tf.import_graph_def(graph_def, name="")
        with tf.Session(config=_PLAIN) as session:
            return session.run(fetch, {"x:0": x})


def fed(graph_def: Any, batch: int = 2) -> np.ndarray:
    node = next(node for node in graph_def.node if node.name == "x")
    dims = [batch if dim.size < 0 else dim.size for dim in node.attr["shape"].shape.dim]
    return np.random.RandomState(7).normal(size=dims).astype(np.float32)


def shrunk(graph_def: Any, **options: Any) -> tuple[Any, ShrinkPlan]:
    """The smaller graph and the plan; outputs are checked to be the same."""
    result = gr.rewrite(graph_def, [Shrink(**options)])
    plan = result.report.steps[0].plan
    assert isinstance(plan, ShrinkPlan)
    after = result.graph_def
    x = fed(graph_def)
    want, got = outputs(graph_def, x), outputs(after, x)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-5 * max(1.0, np.abs(want).max()), rtol=0)
    assert not gr.rewrite(after, [Shrink(**options)]).changed
    return after, plan


def shapes(graph_def: Any) -> dict[str, list[int]]:
    """The shapes of all floating-point constants of two or more axes, and of vectors."""
    return {
        node.name: [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
        for node in graph_def.node
        if node.op == "Const" and node.attr["dtype"].type == 1
    }


def codes(rejections: Sequence[Rejection]) -> list[tuple[str, str]]:
    """Each rejection as its code and the node that is in the way."""
    return [(r.code.value, r.nodes[0]) for r in rejections]
