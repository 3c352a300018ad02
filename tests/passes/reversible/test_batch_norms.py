"""Batch norms are not taken apart twice: copies are handed the forward pass's statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev.io import encode_graph
from graphrev.ir import Graph, Node, TensorRef
from tests.nets import assert_same_training, batch, dense, rewrite, tf, training

OPS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def normed(x: Any, name: str, op: str = "FusedBatchNormV3", dims: Any = (1, 2, 4), **options: Any):
    """A dense layer behind a fused batch norm in training mode."""
    with tf.variable_scope(name):
        vectors = [tf.get_variable(k, [dims[-1]], use_resource=True) for k in ("scale", "offset")]
        mean, variance = options.pop("moving", ([], []))
        images = tf.reshape(x, [-1, *dims])
        out = getattr(tf.raw_ops, op)(
            x=images, scale=vectors[0], offset=vectors[1], mean=mean, variance=variance, **options
        )
        y = tf.reshape(out[0], [-1, 8])
        y.set_shape(x.shape)
    return dense(y, name)


def net(shape: Any = (4, 8), **options: Any) -> Graph:
    def half(x: Any, name: str) -> Any:
        return normed(x, name, **options)

    return training(f=half, g=half, pairs=3, shape=shape)


def norms(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Original batch norms and copies."""
    found = [node for node in graph.nodes.values() if node.op in OPS]
    copies = [node for node in found if "_graphrev_clone_of" in node.attrs]
    return [node for node in found if node not in copies], copies


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", [4, None])
def test_copies_norm_by_the_statistics_of_the_forward_pass(op: str, rows: int | None) -> None:
    graph = net((rows, 8), op=op)
    after = rewrite(graph)[0].after
    originals, copies = norms(after)
    assert len(originals) == 6
    assert len(copies) == 6
    for copy in copies:
        assert copy.attrs["is_training"] is False
        assert copy.inputs[3].node in {node.name for node in originals}
        assert copy.inputs[3].index == 1
    assert_same_training(graph, after, feeds={"x:0": batch()})


def test_gradient_ops_keep_reading_what_the_original_saved_for_them() -> None:
    after = rewrite(net())[0].after
    originals, copies = norms(after)
    grads = [node for node in after.nodes.values() if node.op == "FusedBatchNormGradV3"]
    assert len(grads) == 6
    for node in grads:
        assert {ref.node for ref in node.inputs[3:6]} <= {original.name for original in originals}
        assert node.inputs[1].node not in {original.inputs[0].node for original in originals}
    assert all(not set(after.readers_of(TensorRef(copy.name, 1))) for copy in copies)


def test_one_value_per_channel_is_normed_anew() -> None:
    """It equals its mean exactly; a rebuilt one would be off by a rounding, divided by epsilon."""
    graph = net((1, 8), dims=(1, 1, 8))
    after = rewrite(graph)[0].after
    assert all(copy.attrs["is_training"] is True for copy in norms(after)[1])
    assert_same_training(graph, after, feeds={"x:0": batch(1)})


def test_half_precision_keeps_float_statistics() -> None:
    def layer(x: Any, name: str) -> Any:
        with tf.variable_scope(name + "n"):
            scale = tf.get_variable("scale", [4], use_resource=True)
            images = tf.reshape(tf.cast(x, tf.float16), [-1, 1, 2, 4])
            out = tf.raw_ops.FusedBatchNormV3(
                x=images, scale=scale, offset=scale, mean=[], variance=[]
            )
            return dense(tf.cast(tf.reshape(out[0], [4, 8]), tf.float32), name)

    graph = training(f=layer, g=layer, pairs=2)
    after = rewrite(graph)[0].after
    assert len(norms(after)[1]) == 4
    assert_same_training(graph, after)


def test_moving_averages_and_inference_are_copied_as_they_are() -> None:
    blended = net(exponential_avg_factor=0.5, moving=([0.0] * 4, [1.0] * 4))
    fixed = net(is_training=False, moving=([0.1] * 4, [1.5] * 4))
    for graph, trains in ((blended, True), (fixed, False)):
        after = rewrite(graph)[0].after
        copies = norms(after)[1]
        assert copies
        for copy in copies:
            assert copy.attrs["is_training"] is trains
            assert "_gradient_op_type" not in copy.attrs
        assert_same_training(graph, after)


def test_the_backward_pass_can_be_differentiated_again() -> None:
    """TensorFlow's own gradient of the copies would take the statistics for constants."""
    graph = net()
    after = rewrite(graph)[0].after
    found = [penalty_gradients(version) for version in (graph, after)]
    assert max(float(np.abs(value).max()) for value in found[0]) > 1e-6
    for plain, ours in zip(*found):
        np.testing.assert_allclose(ours, plain, rtol=2e-4, atol=2e-6)


def penalty_gradients(graph: Graph) -> list[Any]:
    """The gradients of the squared input gradient with respect to the first layer's weights."""
    with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
        tf.import_graph_def(tf.GraphDef.FromString(encode_graph(graph)), name="")
        reads = [op for op in live.get_operations() if op.type == "ReadVariableOp"]
        weights = [op.outputs[0] for op in reads if op.inputs[0].op.name.endswith("stem/w")]
        stem = [op for op in live.get_operations() if op.type == "ResourceApplyGradientDescent"]
        slopes = [op.inputs[2] for op in stem if "stem/w" in op.inputs[0].op.name]
        assert slopes
        used = [w for w in weights if any(op.type == "MatMul" for op in w.consumers())]
        penalty = tf.add_n([tf.reduce_sum(tf.square(slope)) for slope in slopes])
        second = tf.gradients(penalty, used)
        assert None not in second
        session.run([op for op in live.get_operations() if op.name.endswith("/Assign")])
        return session.run(second, {"x:0": batch()})


def test_deferred_blocks_hand_the_statistics_on_too() -> None:
    values: list[list[Any]] = []
    for reversible in (False, True):
        with tf.Graph().as_default() as live, tf.Session(graph=live) as session:
            tf.set_random_seed(3)
            x = tf.constant(batch())
            x1, x2 = x, 2.0 * x
            for number in range(3):
                with tf.variable_scope(f"pair{number}"), gr.residual_pair():
                    x1 = x1 + normed(x2, "f")
                    x2 = x2 + normed(x1, "g")
            if reversible:
                gr.rewrite(live, "reversible")
            loss = tf.reduce_mean(tf.square(x1 + 0.5 * x2))
            first = tf.gradients(loss, [x, *tf.trainable_variables()])
            second = tf.gradients(tf.reduce_sum(tf.square(first[0])), x)
            training_mode = [
                op for op in live.get_operations() if op.type in OPS and op.get_attr("is_training")
            ]
            assert len(training_mode) == 6
            copies = [
                op for op in live.get_operations() if "_graphrev_clone_of" in op.node_def.attr
            ]
            assert bool(copies) is reversible
            session.run(tf.global_variables_initializer())
            values.append(session.run([*first, *second]))
    for plain, ours in zip(*values):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=2e-6)


def test_recomputed_regions_repeat_their_batch_norms_bit_by_bit() -> None:
    with tf.Graph().as_default() as live:
        x = tf.constant(batch())
        with gr.recompute_scope():
            y = normed(tf.tanh(x), "f")
        gr.rewrite(live, "recompute")
        tf.gradients(tf.reduce_sum(y), x)
        found = [op for op in live.get_operations() if op.type in OPS]
        assert len(found) == 2
        assert all(op.get_attr("is_training") for op in found)
