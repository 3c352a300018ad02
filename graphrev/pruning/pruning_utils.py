"""The functions of contrib's ``pruning_utils``, under its name: programs import it.

Source: contrib/model_pruning/python/pruning_utils.py of TensorFlow 1.15. Blocks of the update
itself are made by :mod:`graphrev.passes.mask.blocks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow

from graphrev.pruning.assigning import assigned, partitioned_axis
from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.masking import beside

tf: Any = tensorflow.compat.v1
_RANK = 2


def weight_mask_variable(var: Any, scope: Any) -> Any:
    """The variable ``mask`` in ``scope``: ones, of the shape and type of ``var``, not trained."""
    with tf.variable_scope(scope):
        return beside(var, "mask", tf.ones_initializer())


def weight_threshold_variable(var: Any, scope: Any) -> Any:
    """The variable ``threshold`` in ``scope``: a zero of the type of ``var``, not trained."""
    with tf.variable_scope(scope):
        return beside(var, "threshold", tf.zeros_initializer(), [])


def kronecker_product(mat1: Any, mat2: Any) -> Any:
    """The Kronecker product of [m, n] and [p, q] matrices of static shape: [m * p, n * q]."""
    (m, n), (p, q) = (matrix.get_shape().as_list() for matrix in (mat1, mat2))
    product = tf.reshape(mat1, [m, 1, n, 1]) * tf.reshape(mat2, [1, p, 1, q])
    return tf.reshape(product, [m * p, n * q])


def expand_tensor(tensor: Any, block_dims: Sequence[int]) -> Any:
    """Each element of a matrix repeated as a block of ``block_dims``.

    Raises:
        ValueError: ``tensor`` is no matrix, or ``block_dims`` are not two (a
            ``PruningValueError``).
    """
    if tensor.get_shape().ndims != _RANK:
        raise PruningValueError("Input tensor must be rank 2")
    if len(block_dims) != _RANK:
        raise PruningValueError("block_dims must have 2 elements")
    return kronecker_product(tensor, tf.ones(block_dims, tensor.dtype))


def factorized_pool(
    input_tensor: Any,
    window_shape: Sequence[int],
    pooling_type: str,
    strides: Sequence[int],
    padding: str,
    name: str | None = None,
) -> Any:
    """Pools a matrix along its rows and then along its columns.

    Args:
        pooling_type: ``AVG`` or ``MAX``.
        padding: ``SAME`` or ``VALID``.

    Raises:
        ValueError: ``input_tensor`` is no matrix (a ``PruningValueError``).
    """
    if input_tensor.get_shape().ndims != _RANK:
        raise PruningValueError("factorized_pool() accepts tensors of rank 2 only")
    with tf.name_scope(name, "factorized_pool"):
        pooled = input_tensor[tf.newaxis, :, :, tf.newaxis]
        for axis in range(_RANK):
            window, stride = [1, 1], [1, 1]
            window[axis], stride[axis] = window_shape[axis], strides[axis]
            pooled = tf.nn.pool(
                pooled,
                window_shape=window,
                pooling_type=pooling_type,
                strides=stride,
                padding=padding,
            )
        return tf.squeeze(pooled, axis=[0, 3])


def determine_partitioned_axis(partitioned_variable: Any) -> int:
    """The axis along which a variable is partitioned.

    Raises:
        ValueError: it is not exactly one (a ``PruningValueError``).
    """
    parts = [part.get_shape().as_list() for part in partitioned_variable]
    return partitioned_axis(parts, partitioned_variable.get_shape().as_list())


def variable_assign(var: Any, new_value: Any) -> Any:
    """An op that assigns ``new_value``; it is called ``<variable>_assign``."""
    return tf.assign(var, new_value, name=f"{var.op.name}_assign")


def partitioned_variable_assign(partitioned_var: Any, new_value: Any) -> Any:
    """An op that assigns ``new_value`` part by part; it is called ``<variable>_group_assign``."""
    return assigned(partitioned_var, new_value)
