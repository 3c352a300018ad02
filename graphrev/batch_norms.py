"""Batch norms of a live graph that norm by the forward pass's statistics, and their gradient.

The offline counterpart, with the reasons, is :mod:`graphrev.recomputation.batch_norms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow

from graphrev.analysis.batch_norms import (
    BATCH_MEAN,
    BATCH_VARIANCE,
    FUSED_BATCH_NORMS,
    puts_out_statistics,
    values_per_channel,
)
from graphrev.arrival import NORM_GRADIENT
from graphrev.errors import GraphrevError
from graphrev.ir.deferred import GRADIENT_ATTR

tf: Any = tensorflow
_FIRST_RESERVE = 3


def keeps_statistics(graph: Any, op: Any) -> bool:
    """Whether a copy in ``graph`` can norm by what ``op`` took from the batch."""
    attrs = op.node_def.attr
    if op.type not in FUSED_BATCH_NORMS or "T" not in attrs or op.outputs[1].dtype != tf.float32:
        return False
    if op.graph is not graph or op._get_control_flow_context() is not None:
        return False
    if values_per_channel(_dims(op.inputs[0]), _dims(op.outputs[BATCH_MEAN])) == 1:
        return False
    factor = attrs["exponential_avg_factor"].f if "exponential_avg_factor" in attrs else None
    return puts_out_statistics(op.type, attrs["is_training"].b, factor)


def handed_statistics(op: Any, inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """What a copy of ``op`` reads instead of ``inputs``, and the attributes it gets."""
    x, scale, offset = inputs[:3]
    mean, variance = op.outputs[BATCH_MEAN], op.outputs[BATCH_VARIANCE]
    count = values_per_channel(_dims(op.inputs[0]), _dims(mean))
    attr = tf.compat.v1.AttrValue
    attrs = {"is_training": attr(b=False), GRADIENT_ATTR: attr(s=NORM_GRADIENT.encode())}
    with tf.name_scope(f"{op.name}/variance"), tf.device(op.device):
        if count is None:
            values = tf.cast(tf.size(x, out_type=tf.int64), tf.float32)
            channels = tf.cast(tf.size(mean, out_type=tf.int64), tf.float32)
            biased = variance - variance * (channels / values)
        else:
            biased = variance * ((count - 1) / count)
    return [x, scale, offset, mean, biased], attrs


def _dims(tensor: Any) -> tuple[Any, ...] | None:
    shape = tensor.shape
    return tuple(shape.as_list()) if shape.rank is not None else None


def norm_gradient(op: Any, *grads: Any) -> list[Any]:
    """The gradient of a copy: that of the batch norm in training mode, which it stands for.

    Args:
        op: the copy, which norms by the statistics that the original put out.
        grads: the gradients of its outputs; only the first counts, as for the original.

    Raises:
        GraphrevError: the original is out of reach (the copy was moved into a function).
    """
    original = op.inputs[_FIRST_RESERVE].op
    if original.type not in FUSED_BATCH_NORMS:
        raise GraphrevError(
            f"'{op.name}' stands for a batch norm in training mode, but does not read its "
            f"statistics from one ('{original.name}' is a {original.type}), so it cannot be "
            "differentiated. Differentiate the graph before it is moved into a function."
        )
    kind = original.type.replace("FusedBatchNorm", "FusedBatchNormGrad")
    reserves = original.outputs[_FIRST_RESERVE:]
    found = getattr(tf.raw_ops, kind)(
        y_backprop=grads[0],
        x=op.inputs[0],
        scale=op.inputs[1],
        epsilon=op.get_attr("epsilon"),
        data_format=op.get_attr("data_format").decode(),
        is_training=True,
        **{f"reserve_space_{place + 1}": reserve for place, reserve in enumerate(reserves)},
    )
    return [found[0], found[1], found[2], None, None]
