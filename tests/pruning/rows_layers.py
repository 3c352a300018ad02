"""Sections 2.2 and 2.3 of seed-systems.md: masked layers and LSTM cells, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow

from graphrev import pruning
from graphrev.pruning.rnn_cells import _cells
from tests.pruning.rows import Raises, Row
from tests.pruning.running import names, session

tf: Any = tensorflow.compat.v1
IMAGE, VECTOR = (2, 8, 8, 3), (2, 8)


def conv(shape: Any = IMAGE, *args: Any, **options: Any) -> Any:
    given = shape if hasattr(shape, "op") else tf.ones(shape)
    return pruning.masked_convolution(given, *(args or (4, 3)), **options)


def full(shape: Any = VECTOR, count: Any = 4, **options: Any) -> Any:
    return pruning.masked_fully_connected(tf.ones(shape), count, **options)


def variables(collection: str = "variables") -> list[str]:
    return names(tf.get_collection(collection))


def after(build: Callable[..., Any], collection: str, *args: Any, **options: Any) -> list[str]:
    build(*args, **options)
    return variables(collection)


def normalizer(outputs: Any, momentum: float = 0.9) -> Any:
    with tf.variable_scope("BatchNorm"):
        beta = tf.get_variable("beta", [4], initializer=tf.zeros_initializer())
        tf.get_variable("moving_mean", [4], trainable=False)
    return outputs * momentum + beta


def l2(weights: Any) -> Any:
    return tf.nn.l2_loss(weights, name="l2")


def initial_values() -> Any:
    full()
    with session() as opened:
        mask, threshold = opened.run([pruning.get_masks()[0], pruning.get_thresholds()[0]])
    return mask.dtype.name, mask.shape, mask.min(), threshold.shape, float(threshold)


def update_ops_key() -> bool:
    conv()
    return tf.GraphKeys.UPDATE_OPS in tf.get_default_graph().get_all_collection_keys()


def regularized() -> list[str]:
    conv(weights_regularizer=l2, biases_regularizer=l2)
    found = variables(tf.GraphKeys.REGULARIZATION_LOSSES)
    return [name.rpartition("/")[0] for name in found]


def regularized_full() -> list[str]:
    full(weights_regularizer=l2, biases_regularizer=l2)
    found = variables(tf.GraphKeys.REGULARIZATION_LOSSES)
    return [name.rpartition("/")[0] for name in found]


def regularized_once() -> int:
    for reuse in (None, True):
        conv(scope="c", reuse=reuse, weights_regularizer=l2)
    return len(variables(tf.GraphKeys.REGULARIZATION_LOSSES))


def collected() -> Any:
    conv(variables_collections=["mine"], outputs_collections="outputs")
    full(variables_collections={"weights": ["w"], "biases": ["b"]})
    return variables("mine"), variables("w"), variables("b"), variables("outputs")


def masked_gradient() -> Any:
    out = full((2, 3), 2, activation_fn=None, biases_initializer=None)
    (gradient,) = tf.gradients(out, pruning.get_weights())
    mask = pruning.get_masks()[0]
    with session() as opened:
        opened.run(tf.assign(mask, [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]))
        return opened.run(gradient).tolist()


def agrees_with_plain(shape: Any, form: str | None = None, **options: Any) -> bool:
    """Whether a masked convolution is the plain one of ``mask * weights``."""
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    out = pruning.masked_convolution(
        tf.constant(values), 4, 3, data_format=form, activation_fn=None, **options
    )
    (masked,) = pruning.get_masked_weights()
    strides = options.get("stride", 1)
    plain = tf.nn.convolution(
        tf.constant(values), masked, options.get("padding", "SAME"), [strides] * (len(shape) - 2)
    )
    mask = pruning.get_masks()[0]
    with session() as opened:
        half = np.arange(mask.shape.num_elements()).reshape(mask.shape) % 2
        opened.run(tf.assign(mask, half.astype(np.float32)))
        one, other = opened.run([out, plain])
    return bool(np.array_equal(one, other) and np.any(one))


def channels_first(shape: Any, form: str) -> Any:
    return conv(shape, data_format=form).shape.as_list()


def positional() -> Any:
    """All 19 arguments, by position, in contrib's order."""
    out = pruning.masked_conv2d(
        tf.ones(IMAGE), 4, [3, 3], 2, "VALID", "NHWC", 1, tf.nn.tanh, None, None,
        tf.ones_initializer(), None, tf.zeros_initializer(), None, None, None, None, False, "s",
    )  # fmt: skip
    return out.name, out.shape.as_list(), variables("trainable_variables")


def type_of(dtype: Any) -> Any:
    conv(tf.ones(IMAGE, dtype))
    return {v.dtype.base_dtype.name for v in tf.global_variables()}


def cell(kind: str = "MaskedLSTMCell", **options: Any) -> Any:
    return getattr(pruning, kind)(5, **options)


def stepped(kind: str = "MaskedLSTMCell", **options: Any) -> Any:
    made = cell(kind, **options)
    made(tf.ones([2, 3]), made.zero_state(2, tf.float32))
    return made


def cell_variables(**options: Any) -> Any:
    stepped(**options)
    return sorted(variables())


def projected() -> Any:
    stepped(num_proj=2)
    tf.train.get_or_create_global_step()
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    with session(update) as opened:
        (mask,) = opened.run(pruning.get_masks())
    return mask.shape, mask.mean()


def in_a_loop() -> Any:
    """Sparsity, and whether gradient and masked weight can be had, after dynamic_rnn."""
    tf.train.get_or_create_global_step()
    out, _ = tf.nn.dynamic_rnn(cell("MaskedBasicLSTMCell"), tf.ones([2, 4, 3]), dtype=tf.float32)
    update = pruning.Pruning(sparsity=tf.constant(0.5)).mask_update_op()
    (gradient,) = tf.gradients(out, pruning.get_weights())
    (masked,) = pruning.get_masked_weights()
    with session(update) as opened:
        mask, slope, weight = opened.run([pruning.get_masks()[0], gradient, masked])
    same = np.array_equal(mask == 0, weight == 0) and not slope[mask == 0].any()
    return float(mask.mean()), bool(same), masked.op.name.endswith("weights/masked_weight")


def shared_cell() -> Any:
    made = cell()
    state = made.zero_state(2, tf.float32)
    for _ in range(2):
        _, state = made(tf.ones([2, 3]), state)
    return len(pruning.get_masks())


def as_plain_cell(kind: str, **options: Any) -> bool:
    """Whether a masked cell with a mask of ones does what TensorFlow's own does."""
    plain = getattr(_cells(), kind[len("Masked") :])
    x = tf.constant(np.random.default_rng(0).standard_normal((2, 3)), tf.float32)
    with tf.variable_scope(None, "s", initializer=tf.ones_initializer()):
        masked = cell(kind, name="one", **options)
        other = plain(5, name="two", **options)
        pair = [c(x, c.zero_state(2, tf.float32))[0] for c in (masked, other)]
    with session() as opened:
        one, two = opened.run(pair)
    return bool(np.array_equal(one, two))


BATCH_NORM = dict(normalizer_fn=normalizer, normalizer_params={"momentum": 0.5})
ALL_CONV = ["Conv/mask:0", "Conv/weights:0", "Conv/threshold:0", "Conv/biases:0"]
ALL_FULL = [f"fully_connected/{name}:0" for name in ("weights", "mask", "threshold", "biases")]
CELL = [f"masked_lstm_cell/{name}:0" for name in ("bias", "kernel", "mask", "threshold")]
PEEPHOLES = [f"masked_lstm_cell/w_{gate}_diag:0" for gate in "fio"]
FIRST = dict(data_format="NCHW")

ROWS: list[Row] = [
    ("conv: variables in order", lambda: after(conv, "variables"), ALL_CONV),
    ("conv: output name", lambda: conv().name, "Conv/Relu:0"),
    (
        "conv: masked weight",
        lambda: after(conv, "masked_weights"),
        ["Conv/weights/masked_weight:0"],
    ),
    ("full: variables in order", lambda: after(full, "variables"), ALL_FULL),
    ("second call", lambda: (conv(), conv().name)[1], "Conv_1/Relu:0"),
    (
        "a normalizer instead of biases",
        lambda: after(conv, "variables", **BATCH_NORM)[3:],
        ["Conv/BatchNorm/beta:0", "Conv/BatchNorm/moving_mean:0"],
    ),
    (
        "what the normalizer makes are model variables",
        lambda: after(conv, "model_variables", **BATCH_NORM)[3:],
        ["Conv/BatchNorm/beta:0", "Conv/BatchNorm/moving_mean:0"],
    ),
    ("all are model variables", lambda: after(conv, "model_variables"), ALL_CONV),
    (
        "weights and biases are trained",
        lambda: after(conv, "trainable_variables"),
        ["Conv/weights:0", "Conv/biases:0"],
    ),
    (
        "trainable=False",
        lambda: after(conv, "trainable_variables", trainable=False),
        [],
    ),
    ("initial values", initial_values, ("float32", (8, 4), 1.0, (), 0.0)),
    ("an update_ops key appears", update_ops_key, True),
    (
        "names of regularization losses",
        regularized,
        ["Conv/kernel/Regularizer", "Conv/bias/Regularizer"],
    ),
    (
        "full: names of regularization losses",
        regularized_full,
        ["fully_connected/kernel/Regularizer", "fully_connected/bias/Regularizer"],
    ),
    (
        "full: weights and biases are trained",
        lambda: after(full, "trainable_variables"),
        ["fully_connected/weights:0", "fully_connected/biases:0"],
    ),
    ("full: trainable=False", lambda: after(full, "trainable_variables", trainable=False), []),
    ("full: all are model variables", lambda: after(full, "model_variables"), ALL_FULL),
    (
        "full: biases_initializer=None",
        lambda: after(full, "variables", biases_initializer=None),
        ALL_FULL[:3],
    ),
    ("full: output name", lambda: full().name, "fully_connected/Relu:0"),
    ("reuse regularizes once", regularized_once, 1),
    (
        "variables_collections, outputs_collections",
        collected,
        (
            ["Conv/weights:0", "Conv/biases:0"],
            ["fully_connected/weights:0"],
            ["fully_connected/biases:0"],
            ["Conv/Relu:0"],
        ),
    ),
    ("the gradient is masked", masked_gradient, [[0, 0], [2, 2], [2, 2]]),
    ("computes with mask * kernel", lambda: agrees_with_plain(IMAGE), True),
    ("N = 1", lambda: agrees_with_plain((2, 8, 3)), True),
    ("N = 3", lambda: agrees_with_plain((2, 5, 6, 7, 3)), True),
    ("N = 1, strides", lambda: agrees_with_plain((2, 8, 3), stride=2, padding="VALID"), True),
    ("NWC", lambda: agrees_with_plain((2, 8, 3), "NWC"), True),
    ("NDHWC", lambda: agrees_with_plain((2, 5, 6, 7, 3), "NDHWC"), True),
    ("NCW", lambda: channels_first((2, 3, 8), "NCW"), [2, 4, 8]),
    ("NCHW", lambda: channels_first((2, 3, 8, 9), "NCHW"), [2, 4, 8, 9]),
    ("NCDHW", lambda: channels_first((2, 3, 5, 6, 7), "NCDHW"), [2, 4, 5, 6, 7]),
    ("rate", lambda: conv(rate=2, padding="VALID").shape.as_list(), [2, 4, 4, 4]),
    ("lower-case padding", lambda: conv(padding="valid").shape.as_list(), [2, 6, 6, 4]),
    (
        "arguments by position",
        positional,
        ("s/Tanh:0", [2, 3, 3, 4], []),
    ),
    ("float64 in, float64 variables", lambda: type_of(tf.float64), {"float64"}),
    ("float16 in, float16 variables", lambda: type_of(tf.float16), {"float16"}),
    (
        "biases_initializer=None",
        lambda: after(conv, "variables", biases_initializer=None),
        ALL_CONV[:3],
    ),
    ("rank 2", lambda: conv((2, 3)), Raises(ValueError, "Sparse Convolution not supported")),
    (
        "unknown rank",
        lambda: conv(tf.placeholder(tf.float32)),
        Raises(ValueError, "rank None"),
    ),
    ("data_format='XX'", lambda: conv(data_format="XX"), Raises(ValueError, "format: 'XX'")),
    ("NWC on rank 4", lambda: conv(data_format="NWC"), Raises(ValueError, "Unsupported data")),
    (
        "channels None",
        lambda: conv(tf.placeholder(tf.float32, [2, 8, 8, None])),
        Raises(ValueError, "channel dimension of the inputs should be defined. Found `None`"),
    ),
    (
        "stride and rate",
        lambda: conv(stride=2, rate=2),
        Raises(ValueError, "strides > 1 not supported in conjunction with dilation_rate > 1"),
    ),
    ("bad padding", lambda: conv(padding="FULL"), Raises(ValueError, '"valid", "same"')),
    (
        "reuse without scope",
        lambda: conv(reuse=True),
        Raises(ValueError, "reuse=True cannot be used without a name_or_scope"),
    ),
    (
        "num_outputs no integer",
        lambda: full(VECTOR, 4.0),
        Raises(ValueError, "num_outputs should be int or long, got 4.0"),
    ),
    (
        "num_outputs of numpy",
        lambda: full(VECTOR, np.int64(4)),
        Raises(ValueError, "num_outputs should be int or long"),
    ),
    ("full: rank 1", lambda: full((3,)), Raises(ValueError, "min_ndim=2")),
    (
        "full: last dim None",
        lambda: pruning.masked_fully_connected(tf.placeholder(tf.float32, [2, None]), 4),
        Raises(ValueError, "The last dimension of the inputs to `Dense` should be defined"),
    ),
    ("full: rank 3", lambda: full((2, 6, 3)).shape.as_list(), [2, 6, 4]),
    (
        "full: unknown batch",
        lambda: pruning.masked_fully_connected(
            tf.placeholder(tf.float32, [None, 6, 3]), 4
        ).shape.as_list(),
        [None, 6, 4],
    ),
    ("kernel_size", lambda: conv(IMAGE, 4, [3]), Raises(ValueError, "kernel_size")),
    ("cell: variables", cell_variables, sorted(CELL)),
    (
        "cell: all variables",
        lambda: cell_variables(use_peepholes=True, num_proj=2),
        sorted([*CELL, *PEEPHOLES, "masked_lstm_cell/projection/kernel:0"]),
    ),
    (
        "cell: nothing of the mask is trained",
        lambda: (stepped(), sorted(variables("trainable_variables")))[1],
        sorted(CELL[:2]),
    ),
    ("cell: in collections once", shared_cell, 1),
    ("cell: num_proj", projected, ((5, 20), 0.5)),
    ("cell: in dynamic_rnn", in_a_loop, (0.5, True, True)),
    (
        "cell: as TensorFlow's own",
        lambda: [
            as_plain_cell("MaskedBasicLSTMCell"),
            as_plain_cell("MaskedBasicLSTMCell", state_is_tuple=False),
            as_plain_cell("MaskedLSTMCell", use_peepholes=True, cell_clip=0.5),
            as_plain_cell("MaskedLSTMCell", num_proj=2, proj_clip=0.1),
        ],
        [True] * 4,
    ),
    (
        "cell: name",
        lambda: (stepped("MaskedBasicLSTMCell", name="mine"), variables())[1][0],
        "mine/kernel:0",
    ),
]
