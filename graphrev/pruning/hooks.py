"""Keeps masks up to date while somebody else runs the training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow

from graphrev.pruning.errors import PruningTypeError
from graphrev.pruning.pruning import Pruning
from graphrev.pruning.spec import get_pruning_hparams

tf: Any = tensorflow.compat.v1
TrainStep = Callable[..., Any]


class PruningHook(tf.train.SessionRunHook):
    """Updates the masks after each training step at which that is due.

    For ``MonitoredTrainingSession(hooks=[PruningHook(…)])`` and everything else that takes session
    hooks. A loop like slim's, which takes a ``train_step_fn``, is given :meth:`train_step`.

    Args:
        pruning: a ``Pruning``, hyper-parameters (also as text, ``"target_sparsity=0.9"``), or
            an op that updates masks; by default a ``Pruning`` with the default hyper-parameters.
        summaries: whether to add the pruning summaries, which the session's own summary hook
            then writes; not with an op.

    Raises:
        TypeError: ``pruning`` is none of these (a ``PruningTypeError``).
    """

    def __init__(self, pruning: Any = None, summaries: bool = True) -> None:
        is_op = isinstance(pruning, (tf.Operation, tf.Tensor))
        is_spec = pruning is None or isinstance(pruning, str) or hasattr(pruning, "target_sparsity")
        if not (is_op or is_spec or isinstance(pruning, Pruning)):
            raise PruningTypeError(
                "PruningHook takes a Pruning, hyper-parameters or an op, not "
                f"{type(pruning).__name__}."
            )
        self._given = pruning
        self._summaries = summaries and not is_op
        self._update: Any = pruning if is_op else None

    def begin(self) -> None:
        """Builds the update, while the graph may still be changed."""
        if self._update is not None:
            return
        given = self._given
        if isinstance(given, str):
            given = get_pruning_hparams().parse(given)
        pruning = given if isinstance(given, Pruning) else Pruning(given)
        self._update = pruning.conditional_mask_update_op()
        if self._summaries:
            pruning.add_pruning_summaries()

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Updates the masks, where that is due."""
        del run_values
        run_context.session.run(self._update)

    def train_step(self, train_step_fn: TrainStep | None = None) -> TrainStep:
        """A ``train_step_fn`` for slim's loop that updates the masks after each step.

        Args:
            train_step_fn: what takes the step; slim's own by default.
        """
        from graphrev.pruning import learning

        self.begin()
        return learning.with_updates(train_step_fn or learning.train_step, self._update)
