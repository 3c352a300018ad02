"""Builds, masks and times ResNet-18 for ``tools.bench.shrink``, one thread.

Usage: python shrink_child.py RATIO BATCH ROUNDS eights|sixteens|fresh|trained MULTIPLE

Prints one line of JSON; channels are a multiple of MULTIPLE.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import tensorflow

import graphrev as gr

tf: Any = tensorflow.compat.v1
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
SIZE = 224
CLASSES = 1000
_COUNTED = 3
"""Runs of a turn that are counted."""


class _Layers:
    """Layers of constants; batch norms are new, or (``trained``) make constants of zeros."""

    def __init__(self, trained: bool) -> None:
        self._rng = np.random.RandomState(0)
        self._trained = trained

    def _vector(self, size: int, low: float, high: float) -> Any:
        return tf.constant(self._rng.uniform(low, high, size).astype(np.float32))

    def conv(self, x: Any, filters: int, size: int, stride: int) -> Any:
        fan = size * size * int(x.shape[-1])
        w = self._rng.normal(0, (2 / fan) ** 0.5, [size, size, int(x.shape[-1]), filters])
        kernel = tf.constant(w.astype(np.float32), name="kernel")
        if size > 1 and stride > 1:
            before = (size - 1) // 2
            x = tf.pad(
                x, [[0, 0], [before, size - 1 - before], [before, size - 1 - before], [0, 0]]
            )
            return tf.nn.conv2d(x, kernel, stride, "VALID")
        return tf.nn.conv2d(x, kernel, stride, "SAME")

    def norm(self, x: Any) -> Any:
        size = int(x.shape[-1])
        if not self._trained:
            ones, zeros = self._vector(size, 1, 1), self._vector(size, 0, 0)
            return tf.nn.fused_batch_norm(x, ones, zeros, zeros, ones, is_training=False)[0]
        scale, offset = self._vector(size, 0.5, 1.5), self._vector(size, -0.5, 0.5)
        mean, variance = self._vector(size, -0.1, 0.1), self._vector(size, 0.5, 1.5)
        return tf.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]

    def dense(self, x: Any, units: int) -> Any:
        w = self._rng.normal(0, 0.01, [int(x.shape[-1]), units]).astype(np.float32)
        return tf.nn.bias_add(tf.matmul(x, tf.constant(w)), self._vector(units, -0.1, 0.1))


def resnet18(*, trained: bool) -> Any:
    """ResNet-18 (He et al. 2015, table 1) as a frozen GraphDef from ``x`` to ``y``."""
    layers = _Layers(trained)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name="x")
        x = tf.nn.relu(layers.norm(layers.conv(x, 64, 7, 2)))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        for filters, first in STAGES:
            for stride in (first, 1):
                x = _block(layers, x, filters, stride)
        tf.identity(layers.dense(tf.reduce_mean(x, [1, 2]), CLASSES), name="y")
        return graph.as_graph_def()


def _block(layers: _Layers, x: Any, filters: int, stride: int) -> Any:
    y = tf.nn.relu(layers.norm(layers.conv(x, filters, 3, stride)))
    y = layers.norm(layers.conv(y, filters, 3, 1))
    if stride > 1 or int(x.shape[-1]) != filters:
        x = layers.norm(layers.conv(x, filters, 1, stride))
    return tf.nn.relu(x + y)


def session(definition: Any) -> Any:
    """A session with one thread on the graph."""
    config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    return tf.Session(graph=graph, config=config)


def masked(definition: Any, ratio: float, multiple: int) -> Any:
    """The frozen graph after one update of its channel masks, masks multiplied in."""
    options = f"granularity=channel,sparsity={ratio},multiple={multiple}"
    result = gr.rewrite(definition, f"mask{{{options},first=masked,unfreeze=true}}")
    with tf.Graph().as_default() as graph, tf.Session() as one:
        tf.import_graph_def(result.graph_def, name="")
        for node in result.graph_def.node:
            if node.op in ("Assign", "AssignVariableOp") and "nitial" in node.input[1]:
                one.run(node.name)
        one.run("model_pruning/mask_update")
        frozen = tf.graph_util.convert_variables_to_constants(one, graph.as_graph_def(), ["y"])
    return gr.rewrite(frozen, "strip-masks").graph_def


def timed(definitions: list[Any], batch: int, rounds: int) -> tuple[Any, list[Any]]:
    """Processor milliseconds of each graph's runs, a row for each turn, and the outputs.

    A turn is one run that is not counted and the mean of the next ones: a graph that is served runs
    again and again, and does not find the caches full of another one's weights.
    """
    x = np.random.RandomState(1).normal(size=[batch, SIZE, SIZE, 3]).astype(np.float32)
    sessions = [session(definition) for definition in definitions]
    outputs = [one.run("y:0", {"x:0": x}) for one in sessions]
    spent = np.zeros([rounds, len(sessions)])
    for turn in spent:
        for place, one in enumerate(sessions):
            one.run("y:0", {"x:0": x})
            start = time.process_time()
            for _ in range(_COUNTED):
                one.run("y:0", {"x:0": x})
            turn[place] = (time.process_time() - start) * 1000 / _COUNTED
    return spent, outputs


def _error(want: Any, got: Any) -> float:
    return float(np.abs(want - got).max() / max(1.0, np.abs(want).max()))


def main() -> None:
    ratio, batch, rounds, kind, multiple = sys.argv[1:]
    dense = resnet18(trained=kind == "trained")
    before = masked(dense, float(ratio), int(multiple))
    start = time.process_time()
    result = gr.rewrite(before, "shrink")
    seconds = time.process_time() - start
    graphs = [before, result.graph_def]
    graphs += [gr.rewrite(one, "shrink{fold_norms=true}").graph_def for one in (before, dense)]
    spent, (want, got, folded, _) = timed(graphs, int(batch), int(rounds))
    slow, fast, fastest, slow_folded = (float(one) for one in spent.min(0))
    turns = np.median(spent[:, :1] / spent, 0)
    plan = result.report.steps[0].plan.to_json()
    row = {
        "ratio": float(ratio),
        "net": kind,
        "before_ms": slow,
        "after_ms": fast,
        "speedup": slow / fast,
        "turns": float(turns[1]),
        "folded_ms": fastest,
        "folded_speedup": slow / fastest,
        "folded_turns": float(turns[2]),
        "dense_folded_ms": slow_folded,
        "dense_folded_turns": float(turns[3]),
        "flops": [plan["flops"]["before"], plan["flops"]["after"]],
        "parameters": [plan["parameters"]["before"], plan["parameters"]["after"]],
        "removed": plan["channels_removed"],
        "carriers": plan["carriers"],
        "error": _error(want, got),
        "folded_error": _error(want, folded),
        "seconds": seconds,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
