"""What the benchmark's figures are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tools.bench import child
from tools.bench.memory import gradient_error


def metadata(records: list[list[tuple[int, int]]], labels: list[str]) -> Any:
    """A trace with the allocation records (microseconds, bytes) of each op."""
    trace = tf.compat.v1.RunMetadata()
    device = trace.step_stats.dev_stats.add(device="/job:localhost/replica:0/task:0/device:CPU:0")
    for allocations, label in zip(records, labels, strict=True):
        memory = device.node_stats.add(timeline_label=label).memory.add()
        for micros, size in allocations:
            memory.allocation_records.add(alloc_micros=micros, alloc_bytes=size)
    return trace


def test_peak_is_the_most_that_was_alive_at_once() -> None:
    trace = metadata([[(1, 100), (4, -100)], [(2, 50)], [(5, 60)]], ["a = A()"] * 3)
    assert child.peak(trace) == 150


def test_convolutions_are_counted_by_kind_and_fused_ones_too() -> None:
    labels = [
        "c = Conv2D(x, w)",
        "c = _FusedConv2D(x, w)",
        "c = _MklNativeFusedConv2D(x, w)",
        "c = Conv2DBackpropInput(s, w, g)",
        "Conv2D = Relu(x)",
    ]
    found = child.convolutions(metadata([[(0, 0)]] * 5, labels))
    assert found == {"Conv2D": 3, "Conv2DBackpropInput": 1}


def test_gradient_error_is_of_all_gradients_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.array([3.0, 0.0]), np.array([4.0]))
    np.savez(tmp_path / "b.npz", np.array([3.0, 0.0]), np.array([4.5]))
    assert gradient_error(tmp_path / "a.npz", tmp_path / "b.npz") == pytest.approx(0.1)


def test_a_graph_beside_itself_takes_as_long(tmp_path: Path) -> None:
    path = tmp_path / "plain.pb"
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [8, 64], name="x")
        tf.compat.v1.placeholder(tf.int32, [8], name="label")
        w = tf.compat.v1.get_variable("w", [64, 64], use_resource=True)
        tf.compat.v1.variables_initializer([w], name="init")
        tf.identity(tf.matmul(x, w), name="train")
        path.write_bytes(graph.as_graph_def().SerializeToString())
    job = {"beside": str(path), "steps": 20}
    found = child.measure(child.load(path), [], job)
    assert found["peak"] > 0
    assert 0.2 < found["time_ratio"] < 5
