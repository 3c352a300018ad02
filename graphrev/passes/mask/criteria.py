"""What a weight is worth: the criteria, as frozen objects that add nodes.

A criterion maps a kernel to scores of its shape; the weights with the smallest are dropped. Taylor
and movement need a running figure of every training step, kept in a variable beside the mask.
Gradients and figures that are not finite (the overflow of a scaled loss) count as 0.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from graphrev.errors import UsageError
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.nodes import Writer
from graphrev.pipeline.policies import Policy


@dataclass(frozen=True, slots=True)
class Scored:
    """What a criterion may look at when masks are updated.

    Attributes:
        weights: the kernel's value, of type ``dtype``.
        kernel: its name.
        running: the running figure, of type ``float_of(dtype)``, where the criterion keeps one.
        scale: the scale of the batch norm behind the kernel, of shape [filters], where the
            criterion looks at one.
    """

    weights: TensorRef
    dtype: DType
    dims: tuple[int, ...]
    kernel: str
    running: TensorRef | None = None
    scale: TensorRef | None = None


@dataclass(frozen=True)
class Criterion(Policy):
    """What a weight is worth.

    Attributes:
        running: whether a figure is kept that every training step changes.
        counts_dropped: whether that figure goes on for weights that are dropped, so that they may
            come back.
        signed: whether scores may be negative.
        by_filter: whether there is one score for each filter and not for each weight.
    """

    kind: ClassVar[str] = "criterion"
    running: ClassVar[bool] = False
    counts_dropped: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    by_filter: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """Adds the scores, of type :meth:`dtype_of`."""

    def dtype_of(self, dtype: DType) -> DType:
        """The type of the scores of a kernel of type ``dtype``."""
        return float_of(dtype)

    def step(self, writer: Writer, old: TensorRef, product: TensorRef, dtype: DType) -> TensorRef:
        """Adds the running figure after a training step.

        Args:
            old: before it.
            product: weight times gradient, of type ``dtype`` like ``old``, finite.
        """
        del writer, old, dtype
        return product


@dataclass(frozen=True)
class Magnitude(Criterion):
    """The absolute value of the weight."""

    name: ClassVar[str] = "magnitude"

    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """The weights themselves: what is selected by is their magnitude."""
        del writer
        return scored.weights

    def dtype_of(self, dtype: DType) -> DType:
        """The kernel's."""
        return dtype


MAGNITUDE = Magnitude()


@dataclass(frozen=True)
class Random(Criterion):
    """A random number for each weight, the same at every update: what is dropped stays dropped.

    Attributes:
        seed: another one, another choice; every kernel draws numbers of its own.
    """

    name: ClassVar[str] = "random"

    seed: int = 0

    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """Numbers from [0, 1)."""
        seed = writer.vector(DType.INT64, (self.seed, zlib.crc32(scored.kernel.encode())))
        return uniform(writer, scored.dims, seed)

    def dtype_of(self, dtype: DType) -> DType:
        """float32 for all."""
        del dtype
        return DType.FLOAT


@dataclass(frozen=True)
class Taylor(Criterion):
    """How much the loss would change without the weight, to first order (arXiv:1906.10771).

    The moving average of ``|mask * weight * gradient|``: that of a dropped weight fades. (Its dense
    gradient would be of no use: it is large just because the weight is missing, and masks that
    follow it do not settle.)

    Attributes:
        decay: how much of the average each step keeps, in [0, 1).
    """

    name: ClassVar[str] = "taylor"
    running: ClassVar[bool] = True

    decay: float = 0.9

    def __post_init__(self) -> None:
        """Refuses a decay out of range.

        Raises:
            UsageError: it is.
        """
        if not 0.0 <= self.decay < 1.0:
            raise UsageError("mask: the decay of taylor must be at least 0 and below 1.")

    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """The average."""
        del writer
        assert scored.running is not None
        return scored.running

    def step(self, writer: Writer, old: TensorRef, product: TensorRef, dtype: DType) -> TensorRef:
        """``decay * old + (1 - decay) * |product|``."""
        kept = writer.binary("Mul", old, writer.scalar(dtype, self.decay), dtype)
        size = writer.unary("Abs", product, dtype)
        fresh = writer.binary("Mul", size, writer.scalar(dtype, 1.0 - self.decay), dtype)
        return writer.binary("Add", kept, fresh, dtype)


@dataclass(frozen=True)
class Movement(Criterion):
    """How far the gradient moved the weight away from 0: ``-sum(weight * gradient)``.

    Source: Sanh et al. 2020 (arXiv:2005.07683), with the sum over all training steps, of dropped
    weights too (by their dense gradients).
    """

    name: ClassVar[str] = "movement"
    running: ClassVar[bool] = True
    counts_dropped: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """The sum."""
        del writer
        assert scored.running is not None
        return scored.running

    def step(self, writer: Writer, old: TensorRef, product: TensorRef, dtype: DType) -> TensorRef:
        """``old - product``."""
        return writer.binary("Sub", old, product, dtype)


@dataclass(frozen=True)
class BatchNormScale(Criterion):
    """The absolute scale of the batch norm behind the kernel, for each filter (arXiv:1708.06519).

    It ranks filters: for ``granularity=channel`` and ``structure=filters``.
    """

    name: ClassVar[str] = "bn-scale"
    by_filter: ClassVar[bool] = True

    def __call__(self, writer: Writer, scored: Scored) -> TensorRef:
        """The scales."""
        del writer
        assert scored.scale is not None
        return scored.scale


def float_of(dtype: DType) -> DType:
    """The type of figures about a kernel: float32, or float64 for a kernel of it."""
    return dtype if dtype is DType.DOUBLE else DType.FLOAT


def uniform(writer: Writer, dims: tuple[int, ...], seed: TensorRef) -> TensorRef:
    """Random float32 numbers from [0, 1) that depend on ``seed``, two int64 numbers, alone."""
    attrs: dict[str, AttrValue] = {
        "dtype": DType.FLOAT,
        "T": DType.INT32,
        "Tseed": DType.INT64,
    }
    shape = writer.vector(DType.INT32, dims)
    return writer.add("StatelessRandomUniform", "random", (shape, seed), attrs)


def finite(writer: Writer, x: TensorRef, dtype: DType) -> TensorRef:
    """``x`` with 0 where it is not finite."""
    fine = writer.add("IsFinite", "IsFinite", (x,), {"T": dtype})
    inputs = (fine, x, writer.scalar(dtype, 0.0))
    return writer.add("SelectV2", "finite", inputs, {"T": dtype})


def lifted(writer: Writer, scores: list[TensorRef], dtype: DType) -> list[TensorRef]:
    """Signed scores of kernels ranked together, less the smallest of all: none is negative."""
    axis = writer.vector(DType.INT32, (0,))
    attrs: dict[str, AttrValue] = {"T": dtype, "Tidx": DType.INT32, "keep_dims": False}
    lows = [
        writer.add("Min", "Min", (writer.reshape(value, (-1,), dtype), axis), attrs)
        for value in scores
    ]
    low = lows[0]
    for other in lows[1:]:
        low = writer.binary("Minimum", low, other, dtype)
    return [writer.binary("Sub", value, low, dtype) for value in scores]
