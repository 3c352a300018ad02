from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphrev.analysis.liveness import predict_memory, training_targets
from graphrev.io import encode_graph
from graphrev.ir import Graph, Node, Shape, TensorRef
from tests.nets import dense, rewrite, snapshot, tf, training


def measured_peak(graph: Graph, shape: tuple[int, ...]) -> int:
    """Peak of one training step by the allocation records of a full trace, one thread."""
    config = tf.ConfigProto(inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    feeds = {"x:0": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    with tf.Graph().as_default() as live, tf.Session(graph=live, config=config) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        session.run("train", feeds)
        session.run("train", feeds, options=options, run_metadata=metadata)
    records = [
        (record.alloc_micros, record.alloc_bytes)
        for device in metadata.step_stats.dev_stats
        for stats in device.node_stats
        for memory in stats.memory
        for record in memory.allocation_records
    ]
    return int(np.cumsum([size for _, size in sorted(records, key=lambda r: r[0])]).max())


def convolution(x: Any, name: str) -> Any:
    with tf.variable_scope(name):
        w = tf.get_variable("w", [3, 3, 8, 8], use_resource=True)
        return tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME"))


def convolutions(pairs: int = 8) -> Graph:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(5)
        x1 = x2 = convolution(tf.placeholder(tf.float32, [8, 32, 32, 8], "x"), "stem")
        for number in range(pairs):
            with tf.variable_scope(f"pair{number}"):
                x1 = x1 + convolution(x2, "f")
                x2 = x2 + convolution(x1, "g")
        loss = tf.reduce_mean(tf.square(x1 + x2), name="loss")
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        return snapshot(graph)


NETS = {
    "dense": (lambda: training(pairs=24, shape=(4096, 8)), (4096, 8)),
    "convolutions": (convolutions, (8, 32, 32, 8)),
}


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_predicted_peak_is_near_the_measured_one(net: str, rewritten: bool) -> None:
    build, shape = NETS[net]
    graph = build()
    if rewritten:
        before, graph = graph, rewrite(graph)[0].after
        assert graph is not before
    profile = predict_memory(graph, ["train"])
    assert profile.unknown == ()
    assert profile.peak_bytes == pytest.approx(measured_peak(graph, shape), rel=0.15)


def test_rewriting_is_predicted_to_save_memory() -> None:
    graph = training(pairs=24, shape=(4096, 8))
    before = predict_memory(graph, ["train"])
    after = predict_memory(rewrite(graph)[0].after, ["train"])
    assert after.peak_bytes < before.peak_bytes / 3
    assert after.nodes > before.nodes


def test_prediction_scales_with_the_batch_that_is_fed() -> None:
    graph = training(shape=(None, 8))
    unknown = predict_memory(graph, ["train"])
    assert unknown.unknown
    peaks = {n: predict_memory(graph, ["train"], {"x": Shape((n, 8))}) for n in (1000, 2000)}
    assert peaks[1000].unknown == peaks[2000].unknown == ()
    assert peaks[2000].peak_bytes == pytest.approx(2 * peaks[1000].peak_bytes, rel=0.01)


def chain(*ops: str) -> Graph:
    with tf.Graph().as_default() as graph:
        value = tf.placeholder(tf.float32, [1000], "x")
        for op in ops:
            value = {"tanh": tf.tanh, "sort": tf.sort, "id": tf.identity}.get(op, tf.cumsum)(value)
        tf.identity(value, name="train")
        return snapshot(graph)


def test_elementwise_chain_needs_one_buffer_and_another_chain_two() -> None:
    assert predict_memory(chain("tanh", "tanh", "tanh", "id"), ["train"]).peak_bytes == 4000
    assert predict_memory(chain("cumsum", "cumsum", "cumsum"), ["train"]).peak_bytes == 8000


def test_constants_variables_and_feeds_are_no_activations() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1000], "x")
        tf.identity(x, name="train")
        snapshot_ = snapshot(graph)
    assert predict_memory(snapshot_, ["train"]).peak_bytes == 0


def test_timeline_ends_with_nothing_alive_and_holds_the_peak() -> None:
    profile = predict_memory(training(pairs=4, shape=(4096, 8)), ["train"])
    alive = dict(profile.timeline)
    assert profile.timeline[-1][1] == 0
    assert max(alive.values()) <= profile.peak_bytes
    assert profile.peak_node in alive
    assert min(alive.values()) >= 0


def test_only_what_the_step_needs_is_played() -> None:
    graph = training()
    assert predict_memory(graph, ["loss"]).nodes < predict_memory(graph, ["train"]).nodes
    assert predict_memory(graph, []).peak_bytes == 0
    assert predict_memory(graph, ["absent"]).nodes == 0


def test_loop_is_played_once_and_every_node_of_it_runs() -> None:
    enabled = tf.control_flow_v2_enabled()
    tf.disable_control_flow_v2()
    with tf.Graph().as_default() as live:
        x = tf.placeholder(tf.float32, [1000], "x")
        out = tf.while_loop(lambda v: tf.reduce_sum(v) < 9, lambda v: tf.cumsum(v), [x])
        tf.identity(out, name="train")
        graph = snapshot(live)
    if enabled:
        tf.enable_control_flow_v2()
    profile = predict_memory(graph, ["train"])
    played = {name for name, _ in profile.timeline}
    assert {"train", "while/Cumsum", "while/NextIteration"} <= played
    assert profile.peak_bytes >= 4000


def test_training_step_runs_the_optimizer_and_no_saver() -> None:
    with tf.Graph().as_default() as live:
        loss = tf.reduce_sum(dense(tf.placeholder(tf.float32, [4, 8], "x"), "net"))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss, name="train")
        tf.train.Saver()
        tf.global_variables_initializer()
        graph = snapshot(live)
    targets = training_targets(graph)
    assert {graph[name].op for name in targets} == {"ResourceApplyGradientDescent"}
    assert len(targets) == 2


def test_without_an_optimizer_a_step_runs_what_nobody_reads() -> None:
    graph = Graph.of(
        [
            Node("a", "Const"),
            Node("b", "Neg", (TensorRef("a"),)),
            Node("init", "NoOp", (), ("a",)),
        ]
    )
    assert training_targets(graph) == ("b",)
