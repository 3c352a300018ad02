"""The layers as classes (core_layers.MaskedConv2D, MaskedFullyConnected), and every signature."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import tensorflow

from graphrev import pruning
from graphrev.pruning import core_layers, learning, pruning_utils
from tests.pruning.rows import Raises, Row
from tests.pruning.running import names, session

tf: Any = tensorflow.compat.v1
IMAGE, VECTOR = (2, 8, 8, 3), (2, 8)


def called(layer: Any, shape: Any = IMAGE, dtype: Any = tf.float32) -> Any:
    return layer(tf.ones(shape, dtype))


def conv(*args: Any, **options: Any) -> Any:
    return called(core_layers.MaskedConv2D(*(args or (4, 3)), **options))


def full(shape: Any = VECTOR, **options: Any) -> Any:
    return called(core_layers.MaskedFullyConnected(4, **options), shape)


def collected(build: Any) -> Any:
    build()
    keys = ("variables", "trainable_variables", "model_variables")
    return [names(tf.get_collection(key)) for key in keys]


def entered(*layers: Any) -> Any:
    """What the four collections hold after the layers were called."""
    for layer in layers:
        called(layer, VECTOR if isinstance(layer, core_layers.MaskedFullyConnected) else IMAGE)
    keys = ("masks", "thresholds", "masked_weights", "kernel")
    return [names(tf.get_collection(key)) for key in keys]


def called_twice() -> Any:
    layer = core_layers.MaskedConv2D(4, 3)
    outputs = [called(layer).name for _ in range(2)]
    return outputs, entered(layer)[0]


def reused(cls: Any, *args: Any) -> Any:
    found = entered(*(cls(*args, name="l", _reuse=reuse) for reuse in (None, True)))
    return [len(items) for items in found], len(tf.global_variables())


def attributes() -> Any:
    layer = core_layers.MaskedConv2D(4, 3)
    called(layer)
    held = (layer.mask, layer.kernel, layer.threshold, layer.bias, layer.masked_kernel)
    weights = (layer.weights, layer.trainable_weights)
    return names(held), [names(some) for some in weights], layer.use_bias, layer.built


def settings() -> Any:
    layer = core_layers.MaskedConv2D(4, 3, padding="SAME")
    full_layer = core_layers.MaskedFullyConnected(5)
    return (
        (layer.rank, layer.filters, layer.kernel_size, layer.strides, layer.dilation_rate),
        (layer.padding, layer.data_format, full_layer.units),
        (layer.input_spec.ndim, full_layer.input_spec.min_ndim),
    )


def regularized() -> Any:
    l2 = tf.nn.l2_loss
    conv(kernel_regularizer=l2, bias_regularizer=l2, activity_regularizer=l2)
    return names(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))


def shapes() -> Any:
    made = core_layers.MaskedConv2D
    first = made(4, 3, data_format="channels_first", padding="same", strides=2)
    dense = core_layers.MaskedFullyConnected(4)
    return [
        made(4, 3).compute_output_shape((2, 8, 8, 3)).as_list(),
        made(4, 3, dilation_rate=2).compute_output_shape((None, 8, 9, 3)).as_list(),
        first.compute_output_shape((2, 3, 8, 7)).as_list(),
        dense.compute_output_shape((2, 5, 8)).as_list(),
    ]


def in_type(dtype: Any) -> Any:
    out = called(core_layers.MaskedConv2D(4, 3), dtype=dtype)
    return out.dtype.name, {v.dtype.base_dtype.name for v in tf.global_variables()}


def computed(first: bool = False) -> bool:
    """Whether the layers compute what plain ops do with ``mask * kernel``."""
    x = np.random.RandomState(0).standard_normal(IMAGE).astype(np.float32)
    layer = core_layers.MaskedConv2D(4, 3, padding="same", activation=tf.nn.relu)
    dense = core_layers.MaskedFullyConnected(4)
    outputs = [layer(tf.constant(x)), dense(tf.constant(x[0]))]
    wanted = [
        tf.nn.relu(tf.nn.conv2d(x, layer.mask * layer.kernel, [1, 1, 1, 1], "SAME")),
        tf.tensordot(x[0], dense.mask * dense.kernel, [[2], [0]]),
    ]
    half = [tf.assign(m, np.arange(np.prod(m.shape.as_list())).reshape(m.shape.as_list()) % 2)
            for m in (layer.mask, dense.mask)]  # fmt: skip
    with session(*half) as opened:
        pairs = zip(*opened.run([outputs, wanted]))
    return all(np.allclose(one, other, atol=1e-6) and np.any(one) for one, other in pairs)


def scoped() -> Any:
    with tf.variable_scope("s"):
        out = conv(name="mine")
    conv(_scope="given")
    return out.name, names(tf.global_variables())[3:5]


def partitioned() -> Any:
    with tf.variable_scope("s", partitioner=tf.fixed_size_partitioner(2)):
        full()
    return names(tf.global_variables())


def arguments(function: Any) -> str:
    """The names of a function's parameters."""
    found = list(inspect.signature(function).parameters)
    return " ".join(name for name in found if name != "self")


CONV = [f"masked_conv2d/{name}:0" for name in ("mask", "kernel", "threshold", "bias")]
FULL = [f"masked_fully_connected/{name}:0" for name in ("kernel", "mask", "threshold", "bias")]
COMMON = (
    "activation use_bias kernel_initializer bias_initializer kernel_regularizer bias_regularizer "
    "activity_regularizer trainable name kwargs"
)
LAYER = (
    "activation_fn normalizer_fn normalizer_params weights_initializer weights_regularizer "
    "biases_initializer biases_regularizer reuse variables_collections outputs_collections "
    "trainable scope"
)
SIGNATURES = {
    "masked_convolution": f"inputs num_outputs kernel_size stride padding data_format rate {LAYER}",
    "masked_conv2d": f"inputs num_outputs kernel_size stride padding data_format rate {LAYER}",
    "masked_fully_connected": f"inputs num_outputs {LAYER}",
    "get_masks": "", "get_masked_weights": "", "get_thresholds": "", "get_weights": "",
    "get_weight_sparsity": "", "get_pruning_hparams": "", "apply_mask": "x scope",
    "Pruning": "spec global_step sparsity",
    "strip_pruning_vars_fn": "input_graph_def output_node_names",
    "graph_def_from_checkpoint": "checkpoint_dir output_node_names",
    "MaskedBasicLSTMCell": "num_units forget_bias state_is_tuple activation reuse name",
    "MaskedLSTMCell": "num_units use_peepholes cell_clip initializer num_proj proj_clip "
    "num_unit_shards num_proj_shards forget_bias state_is_tuple activation reuse",
    "train": "train_op logdir mask_update_op train_step_fn train_step_kwargs log_every_n_steps "
    "graph master is_chief global_step number_of_steps init_op init_feed_dict local_init_op "
    "init_fn ready_op summary_op save_summaries_secs summary_writer startup_delay_steps saver "
    "save_interval_secs sync_optimizer session_config trace_every_n_steps",
}  # fmt: skip
HELPERS = {
    "weight_mask_variable": "var scope",
    "weight_threshold_variable": "var scope",
    "kronecker_product": "mat1 mat2",
    "expand_tensor": "tensor block_dims",
    "factorized_pool": "input_tensor window_shape pooling_type strides padding name",
    "determine_partitioned_axis": "partitioned_variable",
    "variable_assign": "var new_value",
    "partitioned_variable_assign": "partitioned_var new_value",
}


def starts_with(function: Any, wanted: str) -> bool:
    """Whether a function takes these, in this order, and at most some of its own behind them."""
    found = arguments(function).split()
    return found[: len(wanted.split())] == wanted.split()


ROWS: list[Row] = [
    ("class conv: variables", lambda: collected(conv), [CONV, [CONV[1], CONV[3]], []]),
    ("class full: variables", lambda: collected(full), [FULL, [FULL[0], FULL[3]], []]),
    (
        "class conv: collections",
        lambda: entered(core_layers.MaskedConv2D(4, 3)),
        [[CONV[0]], [CONV[2]], ["masked_conv2d/weights/masked_weight:0"], [CONV[1]]],
    ),
    (
        "class full: collections",
        lambda: entered(core_layers.MaskedFullyConnected(4)),
        [[FULL[1]], [FULL[2]], ["masked_fully_connected/weights/masked_weight:0"], [FULL[0]]],
    ),
    (
        "class: output names",
        lambda: [conv().name, conv(activation=tf.nn.relu).name, full().name],
        ["masked_conv2d/BiasAdd:0", "masked_conv2d_1/Relu:0", "masked_fully_connected/BiasAdd:0"],
    ),
    (
        "class: called twice",
        called_twice,
        (["masked_conv2d/BiasAdd:0", "masked_conv2d/BiasAdd_1:0"], ["masked_conv2d/mask:0"]),
    ),
    ("class: apply", lambda: core_layers.MaskedConv2D(4, 3).apply(tf.ones(IMAGE)).name,
     "masked_conv2d/BiasAdd:0"),
    (
        "class conv: reuse masks once",
        lambda: reused(core_layers.MaskedConv2D, 4, 3),
        ([1, 1, 1, 1], 4),
    ),
    (
        "class full: reuse masks once",
        lambda: reused(core_layers.MaskedFullyConnected, 4),
        ([1, 1, 1, 1], 4),
    ),
    (
        "class: attributes",
        attributes,
        (
            [*CONV, "masked_conv2d/weights/masked_weight:0"],
            [[CONV[1], CONV[3], CONV[0], CONV[2]], [CONV[1], CONV[3]]],
            True,
            True,
        ),
    ),
    (
        "class: settings",
        settings,
        ((2, 4, (3, 3), (1, 1), (1, 1)), ("same", "channels_last", 5), (4, 2)),
    ),
    ("class: computes with mask * kernel", computed, True),
    ("class conv: no bias", lambda: collected(lambda: conv(use_bias=False))[0], CONV[:3]),
    ("class conv: default initializer of the bias",
     lambda: collected(lambda: conv(bias_initializer=None))[0], CONV),
    ("class conv: untrained", lambda: collected(lambda: conv(trainable=False))[1], []),
    ("class conv: strides", lambda: conv(4, 3, 2, "SAME").shape.as_list(), [2, 4, 4, 4]),
    ("class conv: dilated", lambda: conv(dilation_rate=2).shape.as_list(), [2, 4, 4, 4]),
    (
        "class conv: channels first",
        lambda: called(
            core_layers.MaskedConv2D(4, 3, data_format="channels_first"), (2, 3, 8, 8)
        ).shape.as_list(),
        [2, 4, 6, 6],
    ),
    ("class full: rank 3", lambda: full((2, 6, 3)).shape.as_list(), [2, 6, 4]),
    (
        "class full: unknown batch",
        lambda: core_layers.MaskedFullyConnected(4)(
            tf.placeholder(tf.float32, [None, 6, 3])
        ).shape.as_list(),
        [None, 6, 4],
    ),
    (
        "class: compute_output_shape",
        shapes,
        [[2, 6, 6, 4], [None, 4, 5, 4], [2, 4, 4, 4], [2, 5, 4]],
    ),
    (
        "class: names of regularization losses",
        regularized,
        [f"masked_conv2d/{name}/Regularizer/L2Loss:0" for name in ("kernel", "bias")]
        + ["masked_conv2d/ActivityRegularizer/truediv:0"],
    ),
    ("class: float16", lambda: in_type(tf.float16), ("float16", {"float16"})),
    ("class: dtype", lambda: str(np.dtype(core_layers.MaskedConv2D(4, 3, dtype=tf.float64).dtype)),
     "float64"),
    ("class: scopes", scoped, ("s/mine/BiasAdd:0", ["s/mine/bias:0", "given/mask:0"])),
    (
        "class: partitioned",
        partitioned,
        [
            f"s/masked_fully_connected/{name}:0"
            for name in ("kernel/part_0", "kernel/part_1", "mask/part_0", "mask/part_1",
                         "threshold", "bias/part_0", "bias/part_1")
        ],
    ),
    ("class conv: rank 3", lambda: called(core_layers.MaskedConv2D(4, 3), (2, 8, 3)),
     Raises(ValueError, "expected ndim=4, found ndim=3")),
    ("class full: rank 1", lambda: full((3,)), Raises(ValueError, "expected min_ndim=2")),
    (
        "class conv: channels None",
        lambda: core_layers.MaskedConv2D(4, 3)(tf.placeholder(tf.float32, [2, 8, 8, None])),
        Raises(ValueError, "channel dimension of the inputs should be defined"),
    ),
    (
        "class full: last dim None",
        lambda: core_layers.MaskedFullyConnected(4)(tf.placeholder(tf.float32, [2, None])),
        Raises(ValueError, "last dimension of the inputs to `Dense` should be defined"),
    ),
    (
        "class full: shape of None",
        lambda: core_layers.MaskedFullyConnected(4).compute_output_shape((2, None)),
        Raises(ValueError, "innermost dimension of input_shape must be defined"),
    ),
    ("class conv: data_format", lambda: conv(data_format="NHWC"),
     Raises(ValueError, "`data_format` argument must be one of")),
    ("class conv: padding", lambda: conv(padding="FULL"),
     Raises(ValueError, "`padding` argument must be one of")),
    ("class conv: kernel_size", lambda: conv(4, [3]),
     Raises(ValueError, "`kernel_size` argument must be a tuple of 2")),
    ("class conv: strides and dilation", lambda: conv(strides=2, dilation_rate=2),
     Raises(ValueError, "")),
    ("class conv: half a filter", lambda: conv(4.5, 3), Raises(ValueError, "")),
    ("class: unknown argument", lambda: conv(nope=1),
     Raises(TypeError, "Keyword argument not understood")),
    ("class conv: signature", lambda: arguments(core_layers.MaskedConv2D),
     f"filters kernel_size strides padding data_format dilation_rate {COMMON}"),
    ("class full: signature", lambda: arguments(core_layers.MaskedFullyConnected),
     f"units {COMMON}"),
    *(
        (f"signature: {name}", lambda name=name: starts_with(
            learning.train if name == "train" else getattr(pruning, name), SIGNATURES[name]), True)
        for name in SIGNATURES
    ),
    *(
        (f"signature: pruning_utils.{name}",
         lambda name=name: starts_with(getattr(pruning_utils, name), HELPERS[name]), True)
        for name in HELPERS
    ),
]  # fmt: skip
