"""``apply_mask`` and what it made, by collection.

Source: contrib/model_pruning/python/pruning.py of TensorFlow 1.15; ``prune_option`` and groups are
the later fork's (google-research/model_pruning).
"""

from __future__ import annotations

from typing import Any

import tensorflow

from graphrev.pruning import core_layers as core
from graphrev.pruning.errors import PruningTypeError, PruningValueError
from graphrev.pruning.spec import GRADIENT_OPTIONS, WEIGHT

tf: Any = tensorflow.compat.v1

UNGROUPED_GROUP_NAME = "ungrouped"
"""Weights of this group are ranked each by itself."""
_EXTRAS = (
    (core.WEIGHT_GRADIENT_COLLECTION, "gradient"),
    (core.OLD_WEIGHT_COLLECTION, "old_weight"),
    (core.OLD_OLD_WEIGHT_COLLECTION, "old_old_weight"),
)


def apply_mask(x: Any, scope: Any = "", prune_option: str = WEIGHT) -> Any:
    """``mask * x``, with a mask of ones that ``Pruning`` updates.

    Adds the variables ``mask`` (shape and type of ``x``) and ``threshold`` (a scalar) to ``scope``,
    neither trainable, and lists all in the collections ``masks``, ``thresholds``,
    ``masked_weights`` and ``kernel``, once for each mask.

    Args:
        x: the weight, a variable or a tensor of static shape.
        scope: a name or a ``VariableScope``; by default the current one, so that each weight
            needs a scope of its own.
        prune_option: ``weight``; ``first_order_gradient`` and ``second_order_gradient`` add the
            variables that ``Pruning`` with this option needs.

    Raises:
        TypeError: ``x`` is no tensor (a ``PruningTypeError``).
        ValueError: the scope has a mask already and does not reuse it, or the option is not known
            (a ``PruningValueError``).
    """
    return _apply(x, scope, prune_option, None)[0]


def apply_mask_with_group(
    x: Any,
    scope: Any = "",
    prune_option: str = WEIGHT,
    group_name: str | None = UNGROUPED_GROUP_NAME,
) -> Any:
    """:func:`apply_mask`, with a group: ``group_pruning`` ranks its weights together."""
    return _apply(x, scope, prune_option, group_name)[0]


def apply_mask_and_return(x: Any, scope: Any = "", prune_option: str = WEIGHT) -> list[Any]:
    """:func:`apply_mask`, which returns the mask too: ``[masked, mask]``."""
    return list(_apply(x, scope, prune_option, None))


def _apply(x: Any, scope: Any, option: str, group: str | None) -> tuple[Any, Any]:
    core.check_graph("apply_mask")
    if not hasattr(x, "get_shape") or not hasattr(x, "dtype"):
        raise PruningTypeError(f"apply_mask takes a tensor or a variable, not {type(x).__name__}.")
    if option not in (WEIGHT, *GRADIENT_OPTIONS):
        raise PruningValueError(f"prune option specified is not supported: '{option}'")
    with tf.variable_scope(scope):
        mask = beside(x, "mask", tf.ones_initializer())
        threshold = beside(x, "threshold", tf.zeros_initializer(), [])
    masked = core.multiply(mask, threshold, x)
    extras: list[tuple[str, Any]] = []
    if option in GRADIENT_OPTIONS:
        with tf.variable_scope(scope):
            start = tf.zeros_initializer()
            extras = [(collection, beside(x, name, start)) for collection, name in _EXTRAS]
    core.enter(mask, threshold, masked, x, *extras, group=group)
    return masked, mask


def beside(x: Any, name: str, start: Any, shape: Any = None) -> Any:
    """A variable of the current scope, of the type (and shape) of ``x``."""
    return tf.get_variable(
        name,
        x.get_shape() if shape is None else shape,
        initializer=start,
        trainable=False,
        dtype=x.dtype.base_dtype,
    )


def get_masked_weights(group_name: str | None = None) -> list[Any]:
    """The masked weights of the default graph, or of one group."""
    return _collected(core.MASKED_WEIGHT_COLLECTION, group_name)


def get_masks(group_name: str | None = None) -> list[Any]:
    """The masks of the default graph, or of one group."""
    return _collected(core.MASK_COLLECTION, group_name)


def get_thresholds(group_name: str | None = None) -> list[Any]:
    """The thresholds of the default graph, or of one group."""
    return _collected(core.THRESHOLD_COLLECTION, group_name)


def get_weights(group_name: str | None = None) -> list[Any]:
    """The weights that have masks, in the default graph or in one group."""
    return _collected(core.WEIGHT_COLLECTION, group_name)


def get_gradients(group_name: str | None = None) -> list[Any]:
    """The moving averages of gradients that gradient-based pruning keeps."""
    return _collected(core.WEIGHT_GRADIENT_COLLECTION, group_name)


def get_old_weights(group_name: str | None = None) -> list[Any]:
    """The weights as they were at the last update of gradient-based pruning."""
    return _collected(core.OLD_WEIGHT_COLLECTION, group_name)


def get_old_old_weights(group_name: str | None = None) -> list[Any]:
    """The weights as they were at the update before the last one."""
    return _collected(core.OLD_OLD_WEIGHT_COLLECTION, group_name)


def get_weight_sparsity() -> list[Any]:
    """The share of zeros in each mask, as float32 scalars."""
    return [tf.nn.zero_fraction(mask) for mask in get_masks()]


def _collected(collection: str, group: str | None) -> list[Any]:
    return tf.get_collection(core.in_group(collection, group or None))
