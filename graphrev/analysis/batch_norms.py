"""Fused batch norms, and the statistics of the batch that they put out beside the normed tensor.

``FusedBatchNorm``, ``V2`` and ``V3`` in training mode put out ``(y, batch_mean, batch_variance,
reserve_space_1, reserve_space_2[, reserve_space_3])``: vectors of a number per channel. The
variance is the unbiased one (times n / (n - 1), n values per channel), while ``y`` is normed by the
biased one. The reserve spaces are for the gradient op alone; what is in them depends on the device
(core/kernels/fused_batch_norm_op.cc).
"""

from __future__ import annotations

import math

from graphrev.analysis.dims import Dims

FUSED_BATCH_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
BATCH_MEAN, BATCH_VARIANCE = 1, 2
"""Output indices."""


def puts_out_statistics(op: str, is_training: object, exponential_avg_factor: object) -> bool:
    """Whether outputs 1 and 2 of an op are the mean and variance of the batch at hand.

    Args:
        op: the op type.
        is_training: the attribute; ``None`` where it is absent.
        exponential_avg_factor: the attribute; below 1 the outputs are moving averages.
    """
    return (
        op in FUSED_BATCH_NORMS
        and is_training in (None, True)
        and (exponential_avg_factor in (None, 1.0))
    )


def values_per_channel(x: Dims, mean: Dims) -> int | None:
    """How many values of ``x`` share one mean; ``None`` where a size is unknown."""
    if x is None or mean is None:
        return None
    sizes = [dim for dim in (*x, *mean) if isinstance(dim, int) and dim > 0]
    if len(sizes) != len(x) + len(mean):
        return None
    return math.prod(sizes[: len(x)]) // math.prod(sizes[len(x) :])
