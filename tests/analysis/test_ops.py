from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from graphrev.analysis import ops
from graphrev.ir import DType, Node
from tests.nets import tf


def node(op: str, **attrs: Any) -> Node:
    return Node("n", op, attrs=MappingProxyType(attrs))


def registry() -> dict[str, Any]:
    from tensorflow.python.framework import op_def_registry

    names = [n for n in dir(tf.raw_ops) if n[0].isupper()]
    found = {name: op_def_registry.get(name) for name in names}
    return {name: facts for name, facts in found.items() if facts is not None}


def test_table_agrees_with_tensorflows_own_registry() -> None:
    """Every op of the installed TensorFlow: statefulness, ports, reference arguments."""
    compared = 0
    for name, definition in registry().items():
        facts = ops.lookup(name)
        if facts is None or not facts.in_tf2:
            continue
        compared += 1
        assert facts.stateful or not definition.is_stateful, name
        assert facts.in_tf1 or facts.stateful == definition.is_stateful, name
        assert [a.name for a in facts.outputs] == [a.name for a in definition.output_arg], name
        assert [a.is_ref for a in facts.inputs] == [a.is_ref for a in definition.input_arg], name
    assert compared > 1000


def test_output_counts_and_dtypes_agree_with_tensorflow_on_real_nodes() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [4, 6])
        tf.split(x, 3, axis=1)
        tf.unstack(x)
        tf.identity_n([x, tf.constant(1)])
        tf.nn.top_k(x)
        tf.unique(tf.constant([1, 1]))
        tf.Variable(1.0, use_resource=False) + 1.0
        tf.Variable(1.0, use_resource=True) + 1.0
        tf.cond(tf.constant(True), lambda: x, lambda: x * 2)
        image = tf.ones([1, 4, 4, 3])
        tf.nn.fused_batch_norm(image, [1.0] * 3, [0.0] * 3)
        tf.argmax(x)
        tf.data.make_one_shot_iterator(tf.data.Dataset.range(3)).get_next()
        tf.group(x)
        tf.gradients(tf.reduce_sum(tf.tanh(x)), x)
        operations = graph.get_operations()
    from tests.nets import snapshot

    ours = snapshot(graph)
    assert len(operations) > 50
    for operation in operations:
        mine = ours[operation.name]
        assert ops.output_count(mine) == len(operation.outputs), operation.type
        for index, tensor in enumerate(operation.outputs):
            assert ops.output_dtype(mine, index) == tensor.dtype.as_datatype_enum, operation.type
        assert ops.output_dtype(mine, len(operation.outputs)) is None


@pytest.mark.parametrize(
    ("shown", "count"),
    [
        (node("NoOp"), 0),
        (node("Split", num_split=4), 4),
        (node("Split"), None),
        (node("IdentityN", T=(DType.FLOAT, DType.INT32)), 2),
        (node("IdentityN"), None),
        (node("SomebodysOp"), None),
    ],
)
def test_outputs_are_counted_by_attributes(shown: Node, count: int | None) -> None:
    assert ops.output_count(shown) == count


def test_type_attribute_that_is_not_written_has_its_default() -> None:
    assert ops.output_dtype(node("Shape", T=DType.FLOAT), 0) is DType.INT32
    assert ops.output_dtype(node("Shape", out_type=DType.INT64), 0) is DType.INT64
    assert ops.output_dtype(node("VariableV2", dtype=DType.FLOAT), 0) == 101
    assert ops.output_dtype(node("Add"), 0) is None
    assert ops.output_dtype(node("SomebodysOp"), 0) is None


def test_ports_of_a_function_body_are_ranges_of_outputs() -> None:
    assert ops.output_ranges(node("Split", num_split=3)) == {"output": range(3)}
    norm = ops.output_ranges(node("FusedBatchNormV3"))
    assert norm is not None
    assert norm["y"] == range(1)
    assert norm["reserve_space_3"] == range(5, 6)
    assert ops.output_ranges(node("SomebodysOp")) is None


@pytest.mark.parametrize(
    ("op", "stateful"),
    [
        ("Add", False),
        ("Conv2D", False),
        ("Const", False),
        ("StatelessRandomUniform", False),
        ("RandomUniform", True),
        ("AssignAdd", True),
        ("AssignVariableOp", True),
        ("ReadVariableOp", True),
        ("Print", True),
        ("PyFunc", True),
        ("SomebodysOp", True),
    ],
)
def test_op_that_may_not_run_twice_is_stateful(op: str, stateful: bool) -> None:
    assert ops.is_stateful(op) is stateful


def test_random_ops_are_those_of_the_registry_that_take_a_seed_and_draw() -> None:
    """Stateful ops with seed attributes draw, but for data sources and cuDNN's, opaque."""
    for name, definition in registry().items():
        keys = {attr.name for attr in definition.attr}
        if {"seed", "seed2"} <= keys and definition.is_stateful:
            opaque = any(word in name for word in ("Dataset", "Cudnn", "Queue"))
            assert ops.is_random(name) or opaque, name
    for name in ("StatelessRandomUniform", "Add", "AssignAdd", "SomebodysOp", "Dropout"):
        assert not ops.is_random(name)


def test_random_op_has_a_stateless_twin_of_the_same_distribution_or_none() -> None:
    assert ops.stateless_twin("RandomUniform") == "StatelessRandomUniform"
    assert ops.stateless_twin("TruncatedNormal") == "StatelessTruncatedNormal"
    assert ops.stateless_twin("RandomShuffle") is None
    assert ops.stateless_twin("Add") is None
    for op in ("RandomUniform", "RandomStandardNormal", "TruncatedNormal"):
        twin = ops.stateless_twin(op)
        assert twin is not None
        assert ops.known_to_tf1(twin)
        assert not ops.is_stateful(twin)


@pytest.mark.parametrize(
    "op",
    [
        "ReluGrad", "Relu6Grad", "TanhGrad", "Conv2DBackpropFilter", "BiasAddGrad", "MaxPoolGrad",
        "FusedBatchNormGradV3", "AvgPoolGrad", "StridedSliceGrad", "MirrorPadGrad", "LRNGrad",
        "BroadcastGradientArgs", "DepthwiseConv2dNativeBackpropFilter", "ResizeBilinearGrad",
        "MaxPoolGradWithArgmax", "MaxPoolGradGrad", "CropAndResizeGradBoxes", "IgammaGradA",
        "Conv3DBackpropFilterV2", "MaxPoolGradV2",
    ],
)  # fmt: skip
def test_gradient_op_is_told_by_its_type(op: str) -> None:
    assert ops.lookup(op) is not None
    assert ops.is_gradient_op(op)


@pytest.mark.parametrize(
    "op",
    [
        "Conv2D", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "PreventGradient", "Add", "Mul",
        "ApplyGradientDescent", "ResourceApplyGradientDescent", "AccumulatorTakeGradient",
        "AccumulatorApplyGradient", "TensorArrayGradV3", "StopGradient", "Gather", "MatMul",
        "SomebodysGradual", "Upgrade", "SparseApplyProximalGradientDescent",
    ],
)  # fmt: skip
def test_op_that_forward_code_builds_too_is_no_gradient_op(op: str) -> None:
    assert not ops.is_gradient_op(op)


def test_optimizer_ops_are_those_that_apply_a_step() -> None:
    for op in ("ApplyAdam", "ResourceApplyMomentum", "SparseApplyFtrl",
               "ResourceSparseApplyAdagrad", "ApplyGradientDescent"):  # fmt: skip
        assert ops.is_optimizer_apply(op)
        assert ops.lookup(op) is not None
    for op in ("AssignAdd", "AccumulatorApplyGradient", "Apply", "TanhGrad", "ReapplyAdam"):
        assert not ops.is_optimizer_apply(op)


def test_optimizer_ops_of_the_registry_write_a_variable_first() -> None:
    for name, definition in registry().items():
        if ops.is_optimizer_apply(name):
            first = definition.input_arg[0]
            assert first.is_ref or first.type == DType.RESOURCE, name


@pytest.mark.parametrize(
    ("op", "written"),
    [
        ("Assign", (0,)),
        ("ApplyMomentum", (0, 1)),
        ("ApplyAdam", (0, 1, 2)),
        ("ScatterUpdate", (0,)),
        ("RefSwitch", ()),
        ("RefIdentity", ()),
        ("IsVariableInitialized", ()),
        ("AssignVariableOp", ()),
        ("Add", ()),
        ("SomebodysOp", ()),
    ],
)
def test_reference_inputs_an_op_writes(op: str, written: tuple[int, ...]) -> None:
    assert ops.mutates_ref_input(op) == written


@pytest.mark.parametrize("op", ["Identity", "Reshape", "StopGradient", "Squeeze", "Switch", "Exit"])
def test_alias_shares_its_inputs_buffer(op: str) -> None:
    assert ops.is_aliasing(op)
    assert not ops.may_forward_buffer(op)


def test_elementwise_op_may_take_over_a_buffer_and_a_product_may_not() -> None:
    assert all(ops.may_forward_buffer(op) for op in ("AddV2", "Relu", "TanhGrad", "AddN"))
    assert not any(ops.may_forward_buffer(op) for op in ("MatMul", "Conv2D", "Sum", "Concat"))
    assert not any(ops.is_aliasing(op) for op in ("AddV2", "MatMul", "Transpose"))


def test_variables_reads_placeholders_and_constants_are_told_apart() -> None:
    kinds = (ops.is_variable, ops.is_variable_read, ops.is_placeholder, ops.is_constant)
    examples = ("VarHandleOp", "ReadVariableOp", "Placeholder", "Const")
    for place, op in enumerate(examples):
        assert [kind(op) for kind in kinds] == [place == i for i in range(4)]
    assert ops.is_variable("VariableV2")
    assert not any(kind("Add") for kind in kinds)


def test_which_tensorflow_knows_an_op() -> None:
    assert ops.known_to_tf1("AddV2")
    assert not ops.known_to_tf1("BatchMatMulV3")
    assert not ops.known_to_tf1("SomebodysOp")
