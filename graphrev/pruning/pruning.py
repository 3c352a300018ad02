"""``Pruning``: the sparsity over the steps, and the ops that update the masks.

Source: contrib/model_pruning/python/pruning.py of TensorFlow 1.15, whose names, variables,
schedule and conditions are kept; which weights are dropped is decided by the mask pass's nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow

from graphrev.pruning import core_layers as core
from graphrev.pruning import masking
from graphrev.pruning.assigning import assigned, name_of, stepped, whole
from graphrev.pruning.errors import PruningValueError
from graphrev.pruning.gradients import gradients_of, moved
from graphrev.pruning.ramp import Ramp
from graphrev.pruning.selection import Masks, Scored, masks_of
from graphrev.pruning.spec import (
    FIRST_ORDER,
    GRADIENT_OPTIONS,
    SECOND_ORDER,
    ByPattern,
    Maps,
    check,
    complete,
    get_pruning_hparams,
)

tf: Any = tensorflow.compat.v1
_log = logging.getLogger("graphrev")


class Pruning:
    """Updates the masks of the default graph; see :func:`~graphrev.pruning.get_pruning_hparams`.

    Adds the int32 variable ``<name>/last_mask_update_step``, which is saved with the model.

    Args:
        spec: the hyper-parameters.
        global_step: the number of steps done, an integer variable or tensor; the graph's own by
            default.
        sparsity: a scalar variable or tensor to use instead of the schedule.

    Raises:
        RuntimeError: in eager mode (a ``PruningRuntimeError``).
        ValueError: the specification makes no sense, or there is no global step (a
            ``PruningValueError``).
    """

    def __init__(self, spec: Any = None, global_step: Any = None, sparsity: Any = None) -> None:
        core.check_graph("Pruning")
        self._spec = get_pruning_hparams() if spec is None else complete(spec)
        check(self._spec)
        self._maps = Maps.of(self._spec)
        self._weight_sparsity_map = ByPattern(self._maps.sparsities)
        self._block_dims_map = ByPattern(self._maps.blocks)
        self._step = _global_step(global_step)
        self._global_step = tf.cast(self._step, tf.int32)
        self._ramp = Ramp.of(self._spec, self._step, sparsity)
        self._sparsity = self._ramp.sparsity
        self._last_update_step = self._step_variable("last_mask_update_step")
        core.mark_last_update(self._last_update_step)
        self._last_gradient_update_step: Any = None
        if self._spec.prune_option in GRADIENT_OPTIONS:
            self._last_gradient_update_step = self._step_variable("last_gradient_update_step")

    def _step_variable(self, name: str) -> Any:
        use_resource = self._spec.use_tpu or None
        with tf.variable_scope(self._spec.name, reuse=tf.AUTO_REUSE, use_resource=use_resource):
            start = tf.zeros_initializer()
            return tf.get_variable(name, [], tf.int32, initializer=start, trainable=False)

    def _block_of(self, name: str) -> tuple[int, int] | None:
        block = self._maps.block_of(name) or (self._spec.block_height, self._spec.block_width)
        return None if block == (1, 1) else block

    def _scores(self, weight: Any, gradient: Any = None) -> Any:
        """What the weights are ranked by; NaN is dropped before anything else."""
        value = whole(weight)
        if not value.dtype.is_floating:
            raise PruningValueError(
                f"Masks are for floating-point weights; '{name_of(weight)}' is {value.dtype.name}."
            )
        scores = tf.abs(value)
        if gradient is not None:
            scores = scores * whole(gradient)
        return tf.where(tf.is_nan(scores), tf.zeros_like(scores), scores)

    def _masks(self, weights: Sequence[Scored], own: float | None, threshold: Any) -> Masks:
        pooling = self._spec.block_pooling_function
        if any(item.structure.kind == "blocks" for item in weights) and pooling not in (
            "AVG",
            "MAX",
        ):
            raise PruningValueError(f"Unknown pooling function for block sparsity: {pooling}")
        by = "max" if pooling == "MAX" else "mean"
        decay = self._spec.threshold_decay
        return masks_of(weights, self._ramp.of_weight(own), by, threshold, decay)

    def _maybe_update_block_mask(
        self, weights: Any, threshold: Any, gradients: Any = None
    ) -> tuple[Any, Any]:
        """The new threshold and mask of one weight, in blocks where it has them."""
        name = name_of(weights)
        with tf.name_scope(f"{name}_pruning_ops"):
            scored = Scored(self._scores(weights, gradients), name, self._block_of(name))
            found = self._masks([scored], self._maps.sparsity_of(name), threshold)
        return found.smallest, found.masks[0]

    def _update_group(self, group: str) -> Iterator[tuple[int, Any, Any]]:
        """By place in the group's collections the new threshold and mask."""
        maps, spec = self._maps, self._spec
        weights = masking.get_weights(group)
        gradients = self._gradients(group) or [None] * len(weights)
        block = maps.group_blocks.get(group, (spec.block_height, spec.block_width))
        with tf.name_scope(f"{group}_pruning_ops"):
            scored = [
                Scored(self._scores(w, g), name_of(w), None if block == (1, 1) else block)
                for w, g in zip(weights, gradients)
            ]
            old = masking.get_thresholds(group)[0]
            found = self._masks(scored, maps.group_sparsities.get(group), old)
        for place, mask in enumerate(found.masks):
            yield place, found.smallest, mask

    def _gradients(self, group: str | None = None) -> list[Any]:
        return gradients_of(self._spec.prune_option, group)

    def _updates(self) -> Iterator[tuple[Any, Any]]:
        """``(variable, new value)`` for every threshold and mask."""
        grouped: list[Any] = []
        if self._spec.group_pruning:
            for group in tf.get_collection(core.GROUPS_COLLECTION):
                if group == masking.UNGROUPED_GROUP_NAME:
                    continue
                thresholds, masks = masking.get_thresholds(group), masking.get_masks(group)
                grouped.extend(masks)
                for place, threshold, mask in self._update_group(group):
                    yield thresholds[place], threshold
                    yield masks[place], mask
        masks, weights = masking.get_masks(), masking.get_weights()
        gradients = self._gradients() or [None] * len(masks)
        for place, (mask, threshold) in enumerate(zip(masks, masking.get_thresholds())):
            if any(mask is other for other in grouped):
                continue
            found = self._maybe_update_block_mask(weights[place], threshold, gradients[place])
            yield threshold, found[0]
            yield mask, found[1]

    def mask_update_op(self) -> Any:
        """An op that updates all masks, whatever the step is."""
        with tf.name_scope(self._spec.name):
            first = [self.gradient_update_op()] if self._gradients() else []
            with tf.control_dependencies(first):
                done = [assigned(variable, value) for variable, value in self._updates()]
                done.append(stepped(self._last_update_step, self._global_step))
            with tf.control_dependencies(done):
                if not first:
                    return tf.no_op("mask_update")
                older = [self.old_old_weight_update_op()]
            with tf.control_dependencies(older):
                newer = [self.old_weight_update_op()]
            with tf.control_dependencies(newer):
                return tf.no_op("mask_update")

    def conditional_mask_update_op(self) -> Any:
        """An op that updates all masks where that is due; run it after every training step.

        It is due between ``begin_pruning_step`` and ``end_pruning_step``, ``pruning_frequency``
        steps after the last time.
        """
        with tf.name_scope(self._spec.name):
            later = self._last_update_step + self._spec.pruning_frequency
            due = tf.logical_and(self._within(), tf.less_equal(later, self._global_step))
        return tf.cond(due, self.mask_update_op, tf.no_op)

    def _within(self) -> Any:
        spec = self._spec
        begun = tf.greater_equal(self._global_step, spec.begin_pruning_step)
        if spec.end_pruning_step < 0:
            return begun
        return tf.logical_and(begun, tf.less_equal(self._global_step, spec.end_pruning_step))

    def gradient_update_op(self) -> Any:
        """An op that moves the averages of the gradients, which the weights' own moves stand for.

        First order: by the normalized ``|w - w_old|``; second order: by the normalized
        ``|w + w_older - 2 w_old|``, since the last updates. Nothing with ``prune_option=weight``.
        """
        with tf.name_scope(self._spec.name):
            done = [assigned(variable, value) for variable, value in self._moves()]
            if self._last_gradient_update_step is not None:
                done.append(stepped(self._last_gradient_update_step, self._global_step))
            with tf.control_dependencies(done):
                return tf.no_op("gradient_update")

    def conditional_gradient_update_op(self) -> Any:
        """:meth:`gradient_update_op` between begin and end, at every step it is run."""
        with tf.name_scope(self._spec.name):
            within = self._within()
        return tf.cond(within, self.gradient_update_op, tf.no_op)

    def _moves(self) -> Iterator[tuple[Any, Any]]:
        spec = self._spec
        return moved(self._gradients(), spec.prune_option, spec.gradient_decay_rate)

    def old_weight_update_op(self) -> Any:
        """An op that keeps the weights for the next gradient; nothing without gradients."""
        options = (FIRST_ORDER, SECOND_ORDER)
        sources = masking.get_weights() if self._spec.prune_option in options else []
        return self._copies("old_weight_update", masking.get_old_weights(), sources)

    def old_old_weight_update_op(self) -> Any:
        """An op that keeps the old weights; nothing unless second-order."""
        second = self._spec.prune_option == SECOND_ORDER
        sources = masking.get_old_weights() if second else []
        return self._copies("old_old_weight_update", masking.get_old_old_weights(), sources)

    def _copies(self, name: str, targets: Sequence[Any], sources: Sequence[Any]) -> Any:
        with tf.name_scope(self._spec.name):
            done = [assigned(to, whole(source)) for to, source in zip(targets, sources)]
            with tf.control_dependencies(done):
                return tf.no_op(name)

    def add_pruning_summaries(self) -> None:
        """Adds scalar summaries: the sparsity asked for; of each mask, sparsity and threshold."""
        with tf.name_scope(f"{self._spec.name}_summaries"):
            tf.summary.scalar("sparsity", self._sparsity)
            tf.summary.scalar("last_mask_update_step", self._last_update_step)
            for mask, threshold in zip(masking.get_masks(), masking.get_thresholds()):
                share = tf.nn.zero_fraction(mask)
                tf.summary.scalar(f"{name_of(mask)}/sparsity", share)
                tf.summary.scalar(f"{name_of(threshold)}/threshold", threshold)

    def print_hparams(self) -> None:
        """Logs the hyper-parameters as JSON."""
        _log.info(self._spec.to_json())


def _global_step(given: Any) -> Any:
    step = tf.train.get_global_step() if given is None else given
    if step is None:
        raise PruningValueError(
            "None values not supported: could not get the global step. Pass it, or make it first "
            "with tf.train.get_or_create_global_step()."
        )
    return step
