"""Gradient-based pruning as the later fork has it: the weights' own moves stand for gradients.

Source: google-research/model_pruning/python/pruning.py. What a weight is ranked by is
``|w|`` times a moving average of how far it went.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow

from graphrev.pruning import masking
from graphrev.pruning.assigning import whole
from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.spec import GRADIENT_OPTIONS, SECOND_ORDER

tf: Any = tensorflow.compat.v1


def gradients_of(option: str, group: str | None = None) -> list[Any]:
    """The moving averages, one for each weight; none unless ``option`` needs them.

    Raises:
        ValueError: weights were masked without this option (a ``PruningValueError``).
    """
    if option not in GRADIENT_OPTIONS:
        return []
    gradients, weights = masking.get_gradients(group), masking.get_weights(group)
    if len(gradients) != len(weights):
        raise PruningValueError(
            f"prune_option={option} needs every weight masked with the same prune_option: "
            f"{len(gradients)} of {len(weights)} are."
        )
    return gradients


def moved(gradients: Sequence[Any], option: str, decay: float) -> Iterator[tuple[Any, Any]]:
    """Each moving average with its new value."""
    weights = masking.get_weights()
    old, older = masking.get_old_weights(), masking.get_old_old_weights()
    for place, gradient in enumerate(gradients):
        weight, before = whole(weights[place]), whole(old[place])
        move = weight - before
        if option == SECOND_ORDER:
            move = weight + whole(older[place]) - 2.0 * before
        size = tf.nn.l2_normalize(tf.abs(move))
        yield gradient, decay * whole(gradient) + (1.0 - decay) * size
