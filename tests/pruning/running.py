"""What the tests of pruning share: graphs of their own, sessions, masks after one update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow

from graphrev import pruning

tf: Any = tensorflow.compat.v1


@contextmanager
def session(*runs: Any) -> Iterator[Any]:
    """A session of the default graph with its variables initialized, after ``runs``."""
    with tf.Session() as opened:
        opened.run(tf.global_variables_initializer())
        for run in runs:
            opened.run(run)
        yield opened


def variable(values: Any, scope: str = "layer", dtype: Any = np.float32, name: str = "w") -> Any:
    """A weight in a scope of its own, with its mask."""
    with tf.variable_scope(scope):
        weight = tf.get_variable(name, initializer=np.asarray(values, dtype))
        pruning.apply_mask(weight)
    return weight


def masks_after(spec: str = "", sparsity: float | None = 0.5, global_step: int = 0) -> list[Any]:
    """The masks after one update."""
    step = tf.train.get_or_create_global_step()
    given = None if sparsity is None else tf.constant(sparsity)
    made = pruning.Pruning(pruning.get_pruning_hparams().parse(spec), sparsity=given)
    update = made.mask_update_op()
    with session(tf.assign(step, global_step), update) as opened:
        return opened.run(pruning.get_masks())


def mask_of(values: Any, spec: str = "", sparsity: float = 0.5, dtype: Any = np.float32) -> Any:
    """The mask of one weight after one update."""
    with tf.Graph().as_default():
        variable(values, dtype=dtype)
        return masks_after(spec, sparsity)[0]


def names(things: Sequence[Any]) -> list[str]:
    """Their names."""
    return [thing.name for thing in things]
