"""The sparsity at the current step: the common one, and those of weights with targets of their own.

In float64, because ``round(n * (1 - sparsity))`` must not depend on a rounding of the sparsity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.pruning.selection import risen

tf: Any = tensorflow.compat.v1


@dataclass(frozen=True)
class Ramp:
    """How the sparsity rises.

    Attributes:
        sparsity: what it is now, as programs see it: a float32 tensor, or what they gave.
        first, target: the sparsity before and after.
        way: how much of the way is gone, a float64 scalar; ``None`` if ``sparsity`` was given.
    """

    sparsity: Any
    first: float
    target: float
    way: Any = None

    @classmethod
    def of(cls, spec: Any, step: Any, given: Any = None) -> Ramp:
        """The ramp of a specification, unless a sparsity is ``given``."""
        first, target = spec.initial_sparsity, spec.target_sparsity
        if given is not None:
            return cls(given, first, target)
        with tf.name_scope(spec.name):
            way = risen(
                tf.cast(step, tf.int64),
                spec.sparsity_function_begin_step,
                spec.sparsity_function_end_step,
                spec.sparsity_function_exponent,
            )
            now = tf.cast(first + (target - first) * way, tf.float32, name="sparsity")
            return cls(now, first, target, way)

    def of_weight(self, own: float | None) -> Any:
        """The sparsity of a weight, a float64 scalar.

        Args:
            own: its own target, which is risen to as the common one is.
        """
        if self.way is None:
            now = tf.cast(self.sparsity, tf.float64)
        elif own is not None and not self.target:
            return own * self.way
        else:
            now = self.first + (self.target - self.first) * self.way
        return now if own is None or not self.target else now * (own / self.target)
