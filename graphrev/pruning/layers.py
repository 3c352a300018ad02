"""Convolutions and fully connected layers whose weights are masked.

Source: contrib/model_pruning/python/layers/layers.py and core_layers.py of TensorFlow 1.15: names,
scopes, collections and arguments are theirs. The documented convolutions over one and three axes,
which were refused, work here (:func:`masked_convolution`).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import tensorflow

from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.parameters import Parameters, finished, opened
from graphrev.pruning.windows import FORMATS, Window

tf: Any = tensorflow.compat.v1
Tensor: TypeAlias = Any
Function: TypeAlias = Callable[..., Any]
CallT = TypeVar("CallT", bound=Callable[..., Any])

_GLOROT, _ZEROS = tf.glorot_uniform_initializer(), tf.zeros_initializer()


def _in_arg_scopes(function: CallT) -> CallT:
    """Lets ``tf_slim.arg_scope``, contrib's, set arguments where that package is installed."""
    try:
        scopes: Any = importlib.import_module("tf_slim.ops.arg_scope")
    except (ImportError, AttributeError):
        return function
    return scopes.add_arg_scope(function)


@_in_arg_scopes
def masked_convolution(
    inputs: Tensor,
    num_outputs: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: int | Sequence[int] = 1,
    activation_fn: Function | None = tf.nn.relu,
    normalizer_fn: Function | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _GLOROT,
    weights_regularizer: Function | None = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Tensor:
    """A convolution over N = 1, 2 or 3 axes whose weights are multiplied by a mask.

    Makes the variables ``mask``, ``weights``, ``threshold`` and ``biases`` in the scope ``Conv``.

    Args:
        inputs: of rank N + 2, channels last or, with an ``NC…`` format, second.
        num_outputs: the number of filters.
        kernel_size, stride, rate: an integer, or one for each of the N axes; of stride and rate
            one must be 1.
        padding: ``SAME`` or ``VALID``.
        data_format: ``NWC``, ``NCW``; ``NHWC``, ``NCHW``; ``NDHWC``, ``NCDHW``.
        activation_fn: applied last; ``None`` for none.
        normalizer_fn: applied instead of biases, with ``normalizer_params``.
        weights_initializer, biases_initializer: ``biases_initializer=None`` for no biases.
        weights_regularizer, biases_regularizer: give a loss, which is collected.
        reuse: whether the variables of ``scope`` are used again.
        variables_collections: collections for weights and biases, or a dict of such by these names.
        outputs_collections: collections for the output.
        trainable: whether weights and biases are trained.
        scope: a name or a ``VariableScope``.

    Raises:
        ValueError: rank, shape, format, padding, or stride and rate together are not supported (a
            ``PruningValueError``).
    """
    if data_format not in (None, *(name for pair in FORMATS.values() for name in pair)):
        raise PruningValueError(f"Invalid data_format: {data_format!r}")
    with opened(scope, "Conv", inputs, reuse) as layer:
        inputs = tf.convert_to_tensor(inputs)
        window = Window.of(inputs, data_format, kernel_size, stride, rate, padding)
        parameters = Parameters(layer, inputs.dtype.base_dtype, trainable, variables_collections)
        shape = (*window.sizes, window.channels, num_outputs)
        masked = parameters.weights(shape, weights_initializer, weights_regularizer, "mask weights")
        outputs = tf.nn.convolution(
            inputs,
            masked,
            padding=padding.upper(),
            strides=window.strides,
            dilation_rate=window.rates,
            data_format=window.data_format,
        )
        if not normalizer_fn and biases_initializer:
            biases = parameters.biases(num_outputs, biases_initializer, biases_regularizer)
            form = "NCHW" if window.is_channels_first else "NHWC"
            outputs = tf.nn.bias_add(outputs, biases, data_format=form)
        return finished(
            outputs, layer, normalizer_fn, normalizer_params, activation_fn, outputs_collections
        )


def masked_conv2d(inputs: Tensor, *args: Any, **options: Any) -> Tensor:
    """:func:`masked_convolution` over two axes: of inputs of rank 4 only.

    Raises:
        ValueError: the inputs are of another rank (a ``PruningValueError``).
    """
    rank = tf.convert_to_tensor(inputs).shape.ndims
    if rank != 4:
        raise PruningValueError(
            f"Sparse Convolution not supported for input with rank {rank}; masked_convolution "
            "takes ranks 3, 4 and 5."
        )
    return masked_convolution(inputs, *args, **options)


vars(masked_conv2d)["__signature__"] = inspect.signature(masked_convolution)
if "_key_op" in vars(masked_convolution):  # an arg_scope of one is one of both, as in contrib
    vars(masked_conv2d)["_key_op"] = vars(masked_convolution)["_key_op"]


@_in_arg_scopes
def masked_fully_connected(
    inputs: Tensor,
    num_outputs: int,
    activation_fn: Function | None = tf.nn.relu,
    normalizer_fn: Function | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Any = _GLOROT,
    weights_regularizer: Function | None = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Function | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Tensor:
    """A fully connected layer, on the last axis, whose weights are multiplied by a mask.

    Makes the variables ``weights``, ``mask``, ``threshold`` and ``biases`` in the scope
    ``fully_connected``.

    Args:
        inputs: of rank 2 or more; the last axis has a static size.
        num_outputs: the number of units, a Python integer.
        activation_fn, normalizer_fn, normalizer_params, weights_initializer, weights_regularizer,
            biases_initializer, biases_regularizer, reuse, variables_collections,
            outputs_collections, trainable, scope: see :func:`masked_convolution`.

    Raises:
        ValueError: the inputs are of rank 0 or 1, the size of the last axis is not known, or
            ``num_outputs`` is no integer (a ``PruningValueError``).
    """
    if not _is_integer(num_outputs):
        raise PruningValueError(f"num_outputs should be int or long, got {num_outputs!r}.")
    with opened(scope, "fully_connected", inputs, reuse) as layer:
        inputs = tf.convert_to_tensor(inputs)
        depth = _depth(inputs)
        parameters = Parameters(layer, inputs.dtype.base_dtype, trainable, variables_collections)
        masked = parameters.weights(
            (depth, num_outputs), weights_initializer, weights_regularizer, "weights mask"
        )
        if inputs.shape.ndims == 2:
            outputs = tf.matmul(inputs, masked)
        else:
            outputs = tf.tensordot(inputs, masked, [[inputs.shape.ndims - 1], [0]])
            outputs.set_shape([*inputs.shape.as_list()[:-1], num_outputs])
        if not normalizer_fn and biases_initializer:
            biases = parameters.biases(num_outputs, biases_initializer, biases_regularizer)
            outputs = tf.nn.bias_add(outputs, biases)
        return finished(
            outputs, layer, normalizer_fn, normalizer_params, activation_fn, outputs_collections
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int)


def _depth(inputs: Tensor) -> int:
    rank = inputs.shape.ndims
    if rank is None or rank < 2:
        raise PruningValueError(
            f"The inputs of masked_fully_connected need min_ndim=2, found ndim={rank}."
        )
    depth = tensorflow.compat.dimension_value(inputs.shape[-1])
    if depth is None:
        raise PruningValueError(
            "The last dimension of the inputs to `Dense` should be defined. Found `None`."
        )
    return depth
