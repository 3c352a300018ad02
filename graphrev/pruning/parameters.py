"""The scope and the variables of a masked layer, as contrib's layers made them.

Variables are model variables, called ``weights`` and ``biases`` where the layer underneath said
``kernel`` and ``bias``; what regularizes them is called by those older names. Source:
contrib/layers/python/layers/utils.py and contrib/model_pruning/python/layers of TensorFlow 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.pruning import core_layers as core

tf: Any = tensorflow.compat.v1
_NAMES = {"kernel": "weights", "bias": "biases"}


@contextmanager
def opened(scope: Any, default: str, inputs: Any, reuse: Any) -> Generator[Any]:
    """Opens a layer's variable scope.

    Raises:
        RuntimeError: in eager mode (a ``PruningRuntimeError``).
        ValueError: ``reuse`` is set and ``scope`` is not (TensorFlow's own error).
    """
    core.check_graph("A masked layer")
    with tf.variable_scope(
        scope, default, [inputs], reuse=reuse, custom_getter=_model_variable
    ) as inner:
        tf.get_collection_ref(tf.GraphKeys.UPDATE_OPS)  # the key is there afterwards, as it was
        yield inner


def _model_variable(getter: Any, name: str, **options: Any) -> Any:
    head, slash, last = name.rpartition("/")
    keys = tf.GraphKeys
    options["collections"] = [
        *(item for item in options.get("collections") or () if item != keys.GLOBAL_VARIABLES),
        keys.GLOBAL_VARIABLES,
        keys.MODEL_VARIABLES,
    ]
    return getter(f"{head}{slash}{_NAMES.get(last, last)}", **options)


@dataclass(frozen=True)
class Parameters:
    """The variables of one layer.

    Attributes:
        scope: the layer's open variable scope.
        dtype: their type.
        trainable: whether weights and biases are trained.
        collections: more collections for weights and biases: a list, or by name.
    """

    scope: Any
    dtype: Any
    trainable: bool
    collections: Any

    def weights(self, shape: Sequence[int], start: Any, regularizer: Any, order: str) -> Any:
        """The masked weights.

        Args:
            order: ``mask weights`` or ``weights mask``: which of the two is made first.
        """
        ones = tf.ones_initializer()
        mask = self._get("mask", shape, ones) if order.startswith("mask") else None
        kernel = self._get("kernel", shape, start, regularizer, trainable=self.trainable)
        mask = self._get("mask", shape, ones) if mask is None else mask
        threshold = self._get("threshold", [], tf.zeros_initializer())
        masked = core.multiply(mask, threshold, kernel)
        core.enter(mask, threshold, masked, kernel)
        self._collect(kernel, "weights")
        return masked

    def biases(self, count: int, start: Any, regularizer: Any) -> Any:
        """The biases, a vector."""
        bias = self._get("bias", [count], start, regularizer, trainable=self.trainable)
        self._collect(bias, "biases")
        return bias

    def _get(
        self, name: str, shape: Any, start: Any, regularizer: Any = None, trainable: bool = False
    ) -> Any:
        known = tf.get_collection_ref(tf.GraphKeys.GLOBAL_VARIABLES)
        count = len(known)
        variable = tf.get_variable(name, shape, self.dtype, initializer=start, trainable=trainable)
        if regularizer is not None and len(known) > count:
            for part in core.parts_of(variable):
                with tf.name_scope(f"{name}/Regularizer"):
                    loss = regularizer(part)
                if loss is not None:
                    tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, loss)
        return variable

    def _collect(self, variable: Any, name: str) -> None:
        given = self.collections
        for collection in (given.get(name) if isinstance(given, Mapping) else given) or ():
            for part in core.parts_of(variable):
                if not core.listed(part, collection):
                    tf.add_to_collection(collection, part)


def finished(
    outputs: Any,
    scope: Any,
    normalizer: Callable[..., Any] | None,
    options: Mapping[str, Any] | None,
    activation: Callable[..., Any] | None,
    collections: Any,
) -> Any:
    """Normalizes, activates and collects a layer's outputs."""
    if normalizer is not None:
        outputs = normalizer(outputs, **(options or {}))
    if activation is not None:
        outputs = activation(outputs)
    if collections:
        alias = scope.original_name_scope.rstrip("/")
        outputs.aliases = [*getattr(outputs, "aliases", ()), alias]
        tf.add_to_collections(collections, outputs)
    return outputs
