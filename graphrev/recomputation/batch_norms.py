"""Copies of batch norms that norm by the forward pass's statistics instead of taking them again.

The mean and the variance of a batch are two vectors: cheaper to keep than to compute from a
tensor. A copy that is handed them norms in one sweep over its input where training mode needs
three, and a rebuilt input that has drifted by a rounding does not move them. The gradient op keeps
reading the original's outputs, reserve spaces included, so whatever they hold on the device at hand
is right.

The op in training mode hands out the unbiased variance and norms by the biased one, so a copy
multiplies by (n - 1) / n, with n the values per channel, taken from the input's shape in the graph
where it is not known before. A channel of one value equals its mean exactly, which a rebuilt one
does not: such a batch norm is repeated in training mode.

A copy is marked with a gradient of its own (:mod:`graphrev.arrival`). TensorFlow's would take the
statistics for constants, which is wrong when somebody differentiates the backward pass again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphrev.analysis.batch_norms import (
    BATCH_MEAN,
    BATCH_VARIANCE,
    puts_out_statistics,
    values_per_channel,
)
from graphrev.analysis.shapes import Shapes
from graphrev.arrival import NORM_GRADIENT
from graphrev.io.constants import splat
from graphrev.ir import AttrValue, DType, Node, TensorRef
from graphrev.ir.deferred import GRADIENT_ATTR

Add = Callable[[str, str, tuple[TensorRef, ...], Mapping[str, AttrValue]], TensorRef]
"""Adds a node ``(name, op, inputs, attrs)`` beside the copy and returns its output."""

_FLOAT = {"T": DType.FLOAT}


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """A batch norm whose copies are handed the statistics.

    Attributes:
        node: its name.
        count: the values per channel; ``None`` where they are known only in a session.
    """

    node: str
    count: int | None

    @property
    def mean(self) -> TensorRef:
        """The batch's mean, float, one per channel."""
        return TensorRef(self.node, BATCH_MEAN)

    @property
    def variance(self) -> TensorRef:
        """The batch's unbiased variance, float, one per channel."""
        return TensorRef(self.node, BATCH_VARIANCE)


def batch_norm(node: Node, shapes: Shapes) -> BatchNorm | None:
    """``node`` as a batch norm that copies need not repeat; ``None`` for anything else."""
    factor = node.attrs.get("exponential_avg_factor")
    if not puts_out_statistics(node.op, node.attrs.get("is_training"), factor):
        return None
    count = values_per_channel(
        shapes.dims(node.inputs[0]), shapes.dims(TensorRef(node.name, BATCH_MEAN))
    )
    if count == 1 or node.attrs.get("U", DType.FLOAT) is not DType.FLOAT:
        return None
    return BatchNorm(node.name, count)


def copied_norm(node: Node, norm: BatchNorm, inputs: tuple[TensorRef, ...], add: Add) -> Node:
    """``node`` reading ``inputs`` and norming by the statistics of ``norm``.

    Args:
        node: the node to copy, of ``norm`` or of a copy to be.
        inputs: what the copy reads for x, scale, offset (and two more that are not used).
    """
    x, scale, offset = inputs[:3]
    variance = _biased(norm, node, x, add)
    attrs: dict[str, AttrValue] = {
        "is_training": False,
        GRADIENT_ATTR: NORM_GRADIENT.encode(),
    }
    changed = node.evolve(inputs=(x, scale, offset, norm.mean, variance))
    for key, value in attrs.items():
        changed = changed.with_attr(key, value)
    return changed


def _biased(norm: BatchNorm, node: Node, x: TensorRef, add: Add) -> TensorRef:
    """The variance that the op itself norms by."""
    scope = f"{node.name}/variance"
    if norm.count is not None:
        share = splat(DType.FLOAT, (norm.count - 1) / norm.count)
        factor = add(f"{scope}/factor", "Const", (), {"dtype": DType.FLOAT, "value": share})
        return add(scope, "Mul", (norm.variance, factor), _FLOAT)
    sizes = (
        _float_size(f"{scope}/channels", norm.mean, DType.FLOAT, add),
        _float_size(f"{scope}/values", x, node.attrs["T"], add),
    )
    inverse = add(f"{scope}/inverse", "RealDiv", sizes, _FLOAT)
    excess = add(f"{scope}/excess", "Mul", (norm.variance, inverse), _FLOAT)
    return add(scope, "Sub", (norm.variance, excess), _FLOAT)


def _float_size(name: str, tensor: TensorRef, dtype: AttrValue, add: Add) -> TensorRef:
    size = add(name, "Size", (tensor,), {"T": dtype, "out_type": DType.INT64})
    return add(f"{name}/float", "Cast", (size,), {"SrcT": DType.INT64, "DstT": DType.FLOAT})
