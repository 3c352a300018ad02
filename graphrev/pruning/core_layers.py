"""Where masks are kept: the collections, and the functions that enter a mask into them.

Source: contrib/model_pruning/python/layers/core_layers.py of TensorFlow 1.15.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow

from graphrev.ir.marks import KERNEL_ATTR, ROLE_ATTR
from graphrev.pruning.errors import PruningRuntimeError

tf: Any = tensorflow.compat.v1
CallT = TypeVar("CallT", bound=Callable[..., Any])
_core: Any = importlib.import_module("tensorflow.core.framework.attr_value_pb2")

MASK_COLLECTION = "masks"
THRESHOLD_COLLECTION = "thresholds"
MASKED_WEIGHT_COLLECTION = "masked_weights"
WEIGHT_COLLECTION = "kernel"
WEIGHT_GRADIENT_COLLECTION = "gradient_weights"
OLD_WEIGHT_COLLECTION = "old_weights"
OLD_OLD_WEIGHT_COLLECTION = "old_old_weights"
GROUPS_COLLECTION = "graphrev_pruning_groups"
"""The names of the groups there are."""
MASKED_WEIGHT_NAME = "weights/masked_weight"
"""The ``weights`` part tells the quantization library that the kernel is one."""


_CLASSES = ("MaskedConv2D", "MaskedFullyConnected")
"""Found here as in contrib; :mod:`graphrev.pruning.layer_classes` has them."""


def __getattr__(name: str) -> Any:
    if name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("graphrev.pruning.layer_classes"), name)


def in_group(collection: str, group: str | None) -> str:
    """The collection of a group's part of ``collection``."""
    return collection if group is None else f"{collection}_{group}"


def check_graph(call: str) -> None:
    """Refuses eager mode.

    Raises:
        RuntimeError: there is no graph (a ``PruningRuntimeError``).
    """
    if tf.executing_eagerly():
        raise PruningRuntimeError(
            f"{call} needs a graph. Call it inside 'with tf.Graph().as_default():', or start the "
            "program with tf.compat.v1.disable_eager_execution()."
        )


def multiply(mask: Any, threshold: Any, weight: Any) -> Any:
    """``mask * weight``, recorded in the graph for ``strip`` and ``graphrev checkpoint``.

    The product of variables is made outside of loops and branches: once, where a session can
    fetch it.

    Args:
        mask, threshold: variables.
        weight: a variable or a tensor.
    """
    outside = is_variable(weight) and _in_control_flow()
    with tensorflow.init_scope() if outside else contextlib.nullcontext():
        masked = tf.multiply(mask, weight, MASKED_WEIGHT_NAME)
    _mark(masked.op, ROLE_ATTR, "masked_weight")
    if is_variable(weight):
        for role, variable in (("mask", mask), ("threshold", threshold)):
            for kernel, part in zip(parts_of(weight), parts_of(variable)):
                _mark(part.op, ROLE_ATTR, role)
                _mark(part.op, KERNEL_ATTR, kernel.op.name)
    return masked


def _in_control_flow() -> bool:
    graph = tf.get_default_graph()
    if graph._get_control_flow_context() is not None:
        return True
    return hasattr(graph, "outer_graph") and not tf.executing_eagerly_outside_functions()


def _mark(operation: Any, key: str, value: str) -> None:
    """Marks a node once: one that a session has run may not be changed."""
    if key not in operation.node_def.attr:
        operation._set_attr(key, _core.AttrValue(s=value.encode()))


def mark_last_update(variable: Any) -> None:
    """Records that a variable remembers the step of the last update."""
    _mark(variable.op, ROLE_ATTR, "last-update")


def as_it_stands(function: CallT) -> CallT:
    """Keeps AutoGraph, which Keras runs ``call`` through, away."""
    convert: Any = tensorflow.autograph.experimental
    return convert.do_not_convert(function)


def is_variable(thing: Any) -> bool:
    """Whether ``thing`` is a variable, partitioned ones included."""
    return isinstance(thing, tensorflow.Variable) or is_partitioned(thing)


def is_partitioned(thing: Any) -> bool:
    """Whether ``thing`` is a ``PartitionedVariable``."""
    variables: Any = importlib.import_module("tensorflow.python.ops.variables")
    return isinstance(thing, variables.PartitionedVariable)


def parts_of(variable: Any) -> list[Any]:
    """The parts of a partitioned variable; any other is its only part."""
    return list(variable) if is_partitioned(variable) else [variable]


def listed(item: Any, collection: str) -> bool:
    """Whether the very object is in a collection of the graph."""
    return any(item is other for other in tf.get_collection_ref(collection))


def enter(
    mask: Any, threshold: Any, masked: Any, weight: Any, *others: tuple[str, Any], group: Any = None
) -> None:
    """Puts a mask and what belongs to it into the collections, unless it is there already.

    Args:
        others: more collections and what goes there.
        group: the name of a group that it is to be in as well.
    """
    if listed(mask, MASK_COLLECTION):
        return
    items = (
        (MASK_COLLECTION, mask),
        (THRESHOLD_COLLECTION, threshold),
        (MASKED_WEIGHT_COLLECTION, masked),
        (WEIGHT_COLLECTION, weight),
        *others,
    )
    for name in dict.fromkeys((None, group)):
        for collection, item in items:
            tf.add_to_collection(in_group(collection, name), item)
    if group is not None and group not in tf.get_collection_ref(GROUPS_COLLECTION):
        tf.add_to_collection(GROUPS_COLLECTION, group)
