"""Reads and assignments of variables, partitioned ones included.

Source: contrib/model_pruning/python/pruning_utils.py of TensorFlow 1.15.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow

from graphrev.pruning import core_layers as core
from graphrev.pruning.errors import PruningValueError

tf: Any = tensorflow.compat.v1


def name_of(weight: Any) -> str:
    """The name that the maps are searched for."""
    return weight.name if core.is_partitioned(weight) else weight.op.name


def whole(variable: Any) -> Any:
    """The value of a variable at this point of the program, a partitioned one's parts joined."""
    if core.is_partitioned(variable):
        return variable.as_tensor()
    if isinstance(variable, tensorflow.Variable):
        return variable.read_value()
    return tf.convert_to_tensor(variable)


def stepped(variable: Any, step: Any) -> Any:
    """An op that notes the step of an update."""
    return tf.assign(variable, step, name=f"{variable.op.name.rpartition('/')[2]}_assign").op


def assigned(variable: Any, value: Any) -> Any:
    """An op that assigns ``value``, part by part to a partitioned variable."""
    if not core.is_partitioned(variable):
        return tf.assign(variable, value, name=f"{variable.op.name}_assign").op
    parts = list(variable)
    sizes = [part.shape.as_list() for part in parts]
    axis = 0 if len(parts) == 1 else partitioned_axis(sizes, variable.get_shape().as_list())
    split = tf.split(value, [size[axis] for size in sizes], axis=axis)
    return tf.group(
        *(assigned(part, piece) for part, piece in zip(parts, split)),
        name=f"{variable.name}_group_assign",
    )


def partitioned_axis(parts: Sequence[Sequence[int]], whole: Sequence[int]) -> int:
    """The one axis along which the parts are shorter than the whole.

    Raises:
        ValueError: there is not exactly one (a ``PruningValueError``).
    """
    smaller = np.less(np.asarray(parts), np.asarray(whole))
    counts = set(smaller.sum(axis=1))
    if counts != {1}:
        raise PruningValueError(f"Number of partitioned axes {max(counts)} not equal to 1")
    return int(np.flatnonzero(smaller[0])[0])
