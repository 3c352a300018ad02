"""What TensorFlow 1.15's own tests of model_pruning (pruning_test, layers_test …) ask, here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev import pruning
from graphrev.pruning import core_layers, layers, rnn_cells, strip_pruning_vars_lib
from tests.pruning.running import session

tf: Any = tensorflow.compat.v1
PARAMETERS = (
    "name=test,threshold_decay=0.9,pruning_frequency=10,sparsity_function_end_step=100,"
    "target_sparsity=0.9,weight_sparsity_map=[conv1:0.8,conv2/kernel:0.8],"
    "block_dims_map=[dense1:4x4,dense2:1x4]"
)
TOP_HALF = [[0.0] * 4, [0.0] * 4, [1.0] * 4, [1.0] * 4]


@pytest.fixture(autouse=True, params=["resource", "reference"])
def graph(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The contrib tests ran with references and v1 control flow; here with the others as well."""
    was = tensorflow.compat.v1.resource_variables_enabled()
    flow = tensorflow.compat.v1.control_flow_v2_enabled()
    if request.param == "reference":
        tf.disable_resource_variables()
        tf.disable_control_flow_v2()
    with tf.Graph().as_default() as made:
        tf.train.get_or_create_global_step()
        yield made
    (tf.enable_resource_variables if was else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if flow else tf.disable_control_flow_v2)()


def parsed(text: str) -> Any:
    return pruning.get_pruning_hparams().parse(text)


def test_parameters_reach_the_object() -> None:
    spec = pruning.Pruning(parsed(PARAMETERS))._spec
    assert (spec.name, spec.pruning_frequency, spec.sparsity_function_end_step) == ("test", 10, 100)
    assert (spec.threshold_decay, spec.target_sparsity) == (0.9, 0.9)


@pytest.mark.parametrize("key", [str, re.compile], ids=["text", "expression"])
def test_maps_are_read_by_text_and_by_expression(key: Any) -> None:
    """TensorFlow 1.15.5 keeps them by compiled expression, earlier releases by name."""
    made = pruning.Pruning(parsed(PARAMETERS))
    sparsities, blocks = made._weight_sparsity_map, made._block_dims_map
    assert [sparsities[key(name)] for name in ("conv1", "conv2/kernel")] == [0.8, 0.8]
    assert [list(blocks[key(name)]) for name in ("dense1", "dense2")] == [[4, 4], [1, 4]]
    assert list(sparsities) == [re.compile("conv1"), re.compile("conv2/kernel")]
    with pytest.raises(KeyError):
        sparsities[key("conv3")]


def test_sparsity_from_outside_is_used_by_every_object() -> None:
    sparsity = tf.Variable(0.5, name="sparsity")
    both = [pruning.Pruning(parsed(PARAMETERS), sparsity=sparsity) for _ in range(2)]
    with session() as opened, opened.as_default():
        assert [made._sparsity.eval() for made in both] == [0.5, 0.5]


def test_new_mask_keeps_everything() -> None:
    weights = tf.Variable(tf.random_normal([10, 20]), name="weights")
    masked = pruning.apply_mask(weights, tf.get_variable_scope())
    with session() as opened:
        np.testing.assert_array_equal(*opened.run([weights, masked]))


def test_update_keeps_the_largest() -> None:
    weights = tf.Variable(tf.linspace(1.0, 100.0, 100), name="weights")
    masked = pruning.apply_mask(weights)
    made = pruning.Pruning(sparsity=tf.Variable(0.95, name="sparsity"))
    made._spec.threshold_decay = 0.0
    update = made.mask_update_op()
    with session() as opened:
        assert np.count_nonzero(opened.run(masked)) == 100
        opened.run(update)
        assert np.count_nonzero(opened.run(masked)) == 5


AVERAGED = [[0.1, 0.1, 0.2, 0.2]] * 2 + [[0.3, 0.3, 0.4, 0.4]] * 2
LARGEST = [
    [0.1, 0.0, 0.2, 0.0],
    [0.0, -0.1, 0.0, -0.2],
    [0.3, 0.0, 0.4, 0.0],
    [0.0, -0.3, 0.0, -0.4],
]
ROWS_AVERAGED = [[0.1] * 4, [0.2] * 4, [0.3] * 4, [0.3, 0.3, 0.4, 0.4]]
ROWS_LARGEST = [
    [0.1, 0.0, 0.1, 0.0],
    [0.0, 0.1, 0.0, 0.2],
    [0.3, 0.0, 0.3, 0.0],
    [0.0, -0.3, 0.0, 0.4],
]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(
    ("block", "pooling", "weights"),
    [
        ("block_height=2,block_width=2", "AVG", AVERAGED),
        ("block_height=2,block_width=2", "MAX", LARGEST),
        ("block_height=1,block_width=-1", "AVG", ROWS_AVERAGED),
        ("block_height=1,block_width=-1", "MAX", ROWS_LARGEST),
    ],
)
def test_blocks_are_dropped_as_one(rank: int, block: str, pooling: str, weights: Any) -> None:
    values = np.asarray(weights if rank == 2 else [weights], np.float32)
    spec = parsed(f"{block},threshold_decay=0,block_pooling_function={pooling}")
    made = pruning.Pruning(spec, sparsity=tf.Variable(0.5, name="sparsity"))
    constant, threshold = tf.constant(values), tf.Variable(0.0, name="threshold")
    _, mask = made._maybe_update_block_mask(constant, threshold)
    assert mask.get_shape() == constant.get_shape()
    with session() as opened:
        np.testing.assert_array_equal(opened.run(mask), np.reshape(TOP_HALF, values.shape))


def test_partitioned_variable_is_masked_as_one() -> None:
    with tf.variable_scope("", partitioner=tf.variable_axis_size_partitioner(40)):
        weights = tf.get_variable("weights", initializer=tf.linspace(1.0, 100.0, 100))
        masked = pruning.apply_mask(weights, scope=tf.get_variable_scope())
    assert len(list(weights)) == 10
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    with session(update) as opened:
        assert np.count_nonzero(opened.run(masked)) == 50


def test_masks_are_updated_when_due() -> None:
    weights = tf.Variable(tf.linspace(1.0, 100.0, 100), name="weights")
    masked = pruning.apply_mask(weights)
    sparsity = tf.Variable(0.0, name="sparsity")
    spec = parsed("pruning_frequency=2,begin_pruning_step=1,end_pruning_step=6,nbins=100")
    update = pruning.Pruning(spec, sparsity=sparsity).conditional_mask_update_op()
    value = tf.placeholder(tf.float32, [])
    change = tf.assign(sparsity, value)
    count_up = tf.assign_add(tf.train.get_global_step(), 1)
    kept: list[int] = []
    with session() as opened:
        for share in np.linspace(0.0, 0.9, 10):
            opened.run(change, {value: share})
            opened.run(update)
            opened.run(count_up)
            kept.append(np.count_nonzero(opened.run(masked)))
    assert kept == [100, 100, 80, 80, 60, 60, 40, 40, 40, 40]


def test_weights_have_targets_of_their_own() -> None:
    for scope, name in (("layer1", "weights"), ("layer2", "weights"), ("layer3", "kernel")):
        with tf.variable_scope(scope):
            pruning.apply_mask(tf.Variable(tf.linspace(1.0, 100.0, 100), name=name))
    spec = parsed(
        "begin_pruning_step=1,pruning_frequency=1,end_pruning_step=100,target_sparsity=0.5,"
        "weight_sparsity_map=[layer1:0.6,layer2/weights:0.75,.*kernel:0.6],threshold_decay=0.0"
    )
    update = pruning.Pruning(spec).conditional_mask_update_op()
    count_up = tf.assign_add(tf.train.get_global_step(), 1)
    with session() as opened:
        for _ in range(110):
            opened.run(update)
            opened.run(count_up)
        shares = opened.run(pruning.get_weight_sparsity())
    np.testing.assert_allclose(shares, [0.6, 0.75, 0.6], rtol=1e-6)


def test_layers_have_blocks_of_their_own() -> None:
    one = [[-0.1, 0.1], [-0.2, 0.2]]
    two = [[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.4, 0.4]]
    for scope, values in (("layer1", one), ("layer2", two)):
        with tf.variable_scope(scope):
            pruning.apply_mask(tf.constant(values, name="weights"))
    spec = parsed("block_dims_map=[layer1/weights:1x1,layer2/weights:1x2]")
    update = pruning.Pruning(spec, sparsity=tf.constant(0.5)).mask_update_op()
    with session(update) as opened:
        first, second = opened.run(pruning.get_masks())
    np.testing.assert_array_equal(first, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(second, [[0, 0, 1, 1], [0, 0, 1, 1]])


@pytest.mark.parametrize("shape", [(7, 9, 3), (8, 8, 7, 9, 3)])
def test_conv2d_refuses_other_ranks(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rank"):
        layers.masked_conv2d(tf.ones(shape), 32, 3)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", ["conv", "full"])
def test_each_layer_has_one_mask(kind: str, count: int) -> None:
    depth, shapes = 4, []
    top = tf.ones((8, 7, 9, depth) if kind == "conv" else (8, depth))
    for _ in range(count):
        wide = depth + 7
        if kind == "conv":
            top = layers.masked_conv2d(top, wide, 3)
            shapes.append([3, 3, depth, wide])
        else:
            top = layers.masked_fully_connected(top, wide)
            shapes.append([depth, wide])
        depth = wide
    for collection in (core_layers.MASK_COLLECTION, core_layers.MASKED_WEIGHT_COLLECTION):
        found = tf.get_collection(collection)
        assert [item.get_shape().as_list() for item in found] == shapes


@pytest.mark.parametrize("kind", ["MaskedBasicLSTMCell", "MaskedLSTMCell"])
def test_each_cell_has_one_mask(kind: str) -> None:
    inputs, c, h = (tf.Variable(tf.random_normal([8, 10])) for _ in range(3))
    cell = getattr(rnn_cells, kind)(10)
    cell(inputs, rnn_cells._cells().LSTMStateTuple(c, h))
    for found in (
        pruning.get_masks(),
        pruning.get_masked_weights(),
        pruning.get_thresholds(),
        pruning.get_weights(),
    ):
        assert len(found) == 1
    assert [item.shape for item in (*pruning.get_masks(), *pruning.get_weights())] == [(20, 40)] * 2


def convolutional(count: int) -> Any:
    with tf.variable_scope("conv_model"):
        top = tf.ones((8, 7, 9, 4))
        for place in range(count):
            top = layers.masked_conv2d(top, 11 + 7 * place, 3, scope=f"Conv_{place}")
    return top


def connected(count: int) -> Any:
    top = tf.ones((8, 4))
    with tf.variable_scope("fc_model"):
        for place in range(count):
            top = layers.masked_fully_connected(top, 11 + 7 * place)
    return top


def recurrent(count: int) -> Any:
    inputs = tf.Variable(tf.random_normal([8, 10]))
    made = [
        rnn_cells.MaskedBasicLSTMCell(10, forget_bias=0.0, state_is_tuple=True, reuse=False)
        for _ in range(count)
    ]
    cell = rnn_cells._cells().MultiRNNCell(made, state_is_tuple=True)
    start = cell.zero_state(8, tf.float32)
    return tf.nn.static_rnn(cell, [inputs], initial_state=start)[0][0]


@pytest.mark.parametrize(("build", "count"), [(convolutional, 5), (connected, 3), (recurrent, 2)])
def test_stripped_graph_gives_the_same(build: Any, count: int) -> None:
    output = build(count)
    spec = parsed("pruning_frequency=1,begin_pruning_step=1,end_pruning_step=10,nbins=2048")
    update = pruning.Pruning(spec, sparsity=tf.Variable(0.5)).conditional_mask_update_op()
    count_up = tf.assign_add(tf.train.get_global_step(), 1)
    node = strip_pruning_vars_lib._node_name(output.name)
    with session() as opened:
        for _ in range(20):
            opened.run(update)
            opened.run(count_up)
        before = opened.run(output)
        whole = opened.graph.as_graph_def()
        frozen = tf.graph_util.convert_variables_to_constants(opened, whole, [node])
    stripped = pruning.strip_pruning_vars_fn(frozen, [node])
    assert (served(frozen), served(stripped)) == (count, 0)
    with tf.Graph().as_default(), tf.Session() as opened:
        after = opened.run(tf.import_graph_def(stripped, return_elements=[output.name], name="f"))
    np.testing.assert_array_equal(before, after[0])


def served(graph_def: Any) -> int:
    return sum(bool(re.match(r"^.*(mask$)|(threshold$)", node.name)) for node in graph_def.node)


def linear() -> Any:
    return tf.Variable(tf.linspace(1.0, 10.0, 10), name="weights")


def half_of_normalized() -> Any:
    return 0.5 * tf.nn.l2_normalize(tf.linspace(1.0, 10.0, 10))


def test_first_order_gradient_is_how_far_the_weights_went() -> None:
    pruning.apply_mask(linear(), prune_option="first_order_gradient")
    made = pruning.Pruning(parsed("prune_option=first_order_gradient,gradient_decay_rate=0.5"))
    keep, move = made.old_weight_update_op(), made.gradient_update_op()
    with session(move, keep) as opened:
        found, wanted = opened.run([pruning.get_gradients()[0], half_of_normalized()])
        np.testing.assert_array_equal(found, wanted)
        pair = opened.run([pruning.get_weights()[0], pruning.get_old_weights()[0]])
        np.testing.assert_array_equal(*pair)


def test_second_order_gradient_is_how_much_that_changed() -> None:
    weights = linear()
    pruning.apply_mask(weights, prune_option="second_order_gradient")
    made = pruning.Pruning(parsed("prune_option=second_order_gradient,gradient_decay_rate=0.5"))
    keep, keep_older = made.old_weight_update_op(), made.old_old_weight_update_op()
    double = tf.assign(weights, 2.0 * weights)
    with session(keep, keep_older, double, made.gradient_update_op()) as opened:
        found, wanted = opened.run([pruning.get_gradients()[0], half_of_normalized()])
        np.testing.assert_array_equal(found, wanted)
        pair = opened.run([pruning.get_old_weights()[0], pruning.get_old_old_weights()[0]])
        np.testing.assert_array_equal(*pair)
