"""granularity=channel: filters that share channels are dropped together, and can be removed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphrev as gr
from graphrev.errors import UsageError
from graphrev.passes import Mask
from graphrev.passes.mask import MaskPlan
from tests.passes.shrink.nets import Build, Net, built, fed, outputs, shapes, tf

MASK = "mask{granularity=channel,sparsity=0.5,first=masked,unfreeze=true}"


def residual(net: Net, x: Any) -> Any:
    x = tf.nn.relu(net.norm(net.conv(x, 8, name="stem")))
    y = tf.nn.relu(net.norm(net.conv(x, 6, name="a")))
    x = tf.nn.relu(x + net.norm(net.conv(y, 8, name="b")))
    y = tf.concat([net.conv(x, 4, name="c"), net.conv(x, 6, name="d")], 3)
    y = net.bias(tf.nn.depthwise_conv2d_native(y, net.kernel([3, 3, 10, 1]), [1] * 4, "SAME"))
    return net.dense(tf.reduce_mean(tf.nn.relu(y), [1, 2]), 5, name="head")


def masked_once(before: Any, spec: str) -> tuple[Any, np.ndarray, Any]:
    """The graph, frozen after one update of its masks; what it computes then; its plan."""
    result = gr.rewrite(before, spec)
    x = fed(before)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(result.graph_def, name="")
        session.run([op for op in graph.get_operations() if _initializes(op)])
        session.run("model_pruning/mask_update")
        out = session.run("y:0", {"x:0": x})
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ["y"])
    return frozen, out, result.report.steps[0].plan


def test_a_frozen_net_is_masked_stripped_and_shrunk() -> None:
    before = built(residual)
    frozen, masked, plan = masked_once(before, MASK)
    assert isinstance(plan, MaskPlan)
    groups = {kernel.variable: kernel.coupling.group for kernel in plan.kernels if kernel.coupling}
    assert groups["stem/w"] == groups["b/w"] == "channels of stem/w"
    assert groups["c/w"] == groups["d/w"] == groups["w"] != groups["a/w"]
    result = gr.rewrite(frozen, ["strip-masks", "shrink"])
    after = result.graph_def
    np.testing.assert_allclose(outputs(after, fed(before)), masked, atol=1e-5)
    found = shapes(after)
    carriers = result.report.steps[1].plan.to_json()["carriers"]
    assert result.report.steps[1].plan.to_json()["channels_removed"] == 4 + 3 + 5 - carriers
    assert found["stem/w"][3] == found["b/w"][3] and 4 <= found["stem/w"][3] <= 5
    assert found["c/w"][3] + found["d/w"][3] == found["w"][2]
    assert found["head/w"][0] == found["w"][2]


def test_exactly_as_many_channels_are_dropped_and_the_same_in_each_kernel() -> None:
    frozen, _, plan = masked_once(built(residual), MASK)
    stripped = gr.rewrite(frozen, "strip-masks").graph_def
    values = {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in stripped.node
        if node.op == "Const"
    }

    def dead(name: str, axis: int) -> list[int]:
        value = np.moveaxis(values[name], axis, 0)
        return [place for place, one in enumerate(value) if not one.any()]

    assert len(dead("stem/w", 3)) == 4 and dead("stem/w", 3) == dead("b/w", 3)
    assert len(dead("a/w", 3)) == 3
    joined = dead("c/w", 3) + [4 + place for place in dead("d/w", 3)]
    assert len(joined) == 5 and joined == dead("w", 2)
    assert {k.variable: k.zeros for k in plan.kernels}["b/w"] == 4 * 3 * 3 * 6


def test_the_channels_with_the_smallest_sums_go() -> None:
    def net(net: Net, x: Any) -> Any:
        scale = np.array([5, 1, 3, 4, 2, 9], np.float32)
        other = np.array([1, 6, 1, 4, 2, 9], np.float32)
        a = tf.constant(np.ones([1, 1, 3, 6], np.float32) * scale, name="a")
        b = tf.constant(np.ones([1, 1, 3, 6], np.float32) * other, name="b")
        y = tf.nn.conv2d(x, a, 1, "SAME") + tf.nn.conv2d(x, b, 1, "SAME")
        return net.conv(y, 4, name="head")

    frozen, _, _ = masked_once(built(net), MASK)
    stripped = gr.rewrite(frozen, "strip-masks").graph_def
    for node in stripped.node:
        if node.name in ("a", "b"):
            value = tf.make_ndarray(node.attr["value"].tensor)
            assert [place for place in range(6) if not value[..., place].any()] == [0, 2, 4]


def test_a_group_with_a_kernel_that_is_not_masked_is_left_alone() -> None:
    spec = "mask{granularity=channel,sparsity=0.5,unfreeze=true}"
    plan = gr.analyze(built(residual), spec).steps[0].plan
    assert isinstance(plan, MaskPlan)
    assert "b/w" not in {kernel.variable for kernel in plan.kernels}
    assert ("channels_coupled", ("b/w", "stem/w")) in [
        (r.code.value, r.nodes) for r in plan.rejections
    ]


def training(net: Build) -> Any:
    """A training graph with variables, batch norm in training mode, dropout and momentum."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [4, 8, 8, 3], name="x")
        out = net(Net(), x)
        loss = tf.reduce_mean(tf.square(out), name="loss")
        step = tf.train.get_or_create_global_step()
        tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss, global_step=step, name="train")
        return graph.as_graph_def()


def _initializes(op: Any) -> bool:
    """Whether the op gives a variable the value it starts with."""
    return op.type in ("Assign", "AssignVariableOp") and "nitial" in op.inputs[1].name


def with_variables(net: Net, x: Any) -> Any:
    def conv(x: Any, filters: int, name: str) -> Any:
        with tf.variable_scope(name, use_resource=False):
            w = tf.get_variable("w", [3, 3, int(x.shape[-1]), filters])
            b = tf.get_variable("b", [filters])
            return tf.nn.bias_add(tf.nn.conv2d(x, w, 1, "SAME"), b)

    x = tf.nn.dropout(tf.nn.relu(conv(x, 8, "stem")), rate=0.5, seed=1)
    y = tf.tanh(conv(x, 6, "a"))
    x = tf.nn.relu(x + conv(y, 8, "b"))
    return tf.reduce_mean(conv(x, 4, "head"), [1, 2])


def test_a_training_graph_couples_what_its_forward_side_does() -> None:
    spec = "mask{granularity=channel,sparsity=0.5,first=masked,frequency=1}"
    before = training(with_variables)
    result = gr.rewrite(before, spec)
    plan = result.report.steps[0].plan
    assert isinstance(plan, MaskPlan)
    assert {k.variable: k.coupling and k.coupling.group for k in plan.kernels} == {
        "stem/w": "channels of stem/w", "b/w": "channels of stem/w", "a/w": "channels of a/w",
    }  # fmt: skip
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(result.graph_def, name="")
        session.run([op for op in graph.get_operations() if _initializes(op)])
        for _ in range(3):
            session.run("train", {"x:0": np.ones([4, 8, 8, 3])})
        stem, b, a = session.run(["stem/mask:0", "b/mask:0", "a/mask:0"])
    assert [int(mask[0, 0, 0].sum()) for mask in (stem, b, a)] == [4, 4, 3]
    assert (stem[0, 0, 0] == b[0, 0, 0]).all()


@pytest.mark.parametrize(
    "options", ["structure=filters", "allocation=global", "regrowth=set(anneal=constant)"]
)
def test_what_excludes_each_other_is_refused(options: str) -> None:
    with pytest.raises(UsageError, match="granularity=channel"):
        gr.passes.Mask(**_options(options), granularity="channel")


def _options(spelled: str) -> dict[str, Any]:
    key, _, value = spelled.partition("=")
    return {key: value}


def test_the_default_is_single_weights() -> None:
    assert Mask().granularity == "weight"


@pytest.mark.parametrize(
    ("sparsity", "multiple", "kept"),
    [
        (0.0, 8, (16, 12)),
        (0.3, 4, (8, 8)),
        (0.3, 1, (11, 8)),
        (0.5, 8, (8, 8)),
        (0.7, 8, (8, 8)),
        (0.9, 16, (16, 12)),
    ],
)
def test_kept_channels_are_a_multiple_and_never_none(
    sparsity: float, multiple: int, kept: tuple[int, int]
) -> None:
    """More are dropped than asked for, so that vector units are full."""

    def two(net: Net, x: Any) -> Any:
        x = tf.nn.relu(net.conv(x, 16, name="a"))
        return net.conv(tf.nn.relu(net.conv(x, 12, name="b")), 5, name="c")

    spec = (
        f"mask{{granularity=channel,sparsity={sparsity},multiple={multiple},first=masked,"
        "unfreeze=true}"
    )
    before = built(two)
    frozen, masked, _ = masked_once(before, spec)
    after = gr.rewrite(frozen, ["strip-masks", "shrink"]).graph_def
    found = shapes(after)
    assert (found["a/w"][3], found["b/w"][3]) == kept
    np.testing.assert_allclose(outputs(after, fed(before)), masked, atol=1e-5)


def test_multiple_is_for_channels_and_positive() -> None:
    with pytest.raises(UsageError, match="multiple=8 counts channels"):
        Mask(multiple=8)
    with pytest.raises(UsageError, match="multiple must be at least 1"):
        Mask(granularity="channel", multiple=0)
