"""Sparsity over the training steps, as numbers here and as graph nodes.

With ``p = clip((step - begin) / (end - begin), 0, 1)`` the sparsity is
``target + (initial - target) * decay(p)``; ``decay`` falls from 1 to exactly 0, so the last update
asks for exactly the target. Polynomial: Zhu and Gupta 2017 (arXiv:1710.01878), power 3.
All in float64: ``round(n * sparsity)`` must not depend on a rounding of the sparsity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from graphrev.errors import UsageError
from graphrev.io import constants
from graphrev.ir import AttrValue, DType, TensorRef
from graphrev.passes.mask.nodes import Writer

Shape = Literal[
    "constant", "polynomial", "linear", "exponential", "cosine", "multistep", "table", "tensor"
]

FOREVER = 2**62
_FALL = 5.0
"""An exponential schedule has come within e^-5 (0.7 %) of the target just before its end."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When masks are updated, and how much of the target is asked for.

    Attributes:
        shape: how the sparsity rises from ``initial`` (a share of the target) to the target.
        begin, end: the first and the last step with an update; masks stay as they are afterwards.
        frequency: steps between updates.
        power: the exponent of the polynomial.
        initial: the sparsity at ``begin``, as a share of the target.
        steps: of a multistep schedule, the number of equal rises.
        table: the share at each update, from ``begin``; the last one stays.
        tensor: a floating-point scalar of the graph ("name:0"): the sparsity itself.
        base: what the share is a share of, for ``tensor``: the sparsity that targets refer to.
    """

    shape: Shape = "constant"
    begin: int = 0
    end: int | None = None
    frequency: int = 100
    power: float = 3.0
    initial: float = 0.0
    steps: int = 4
    table: tuple[float, ...] = ()
    tensor: str = ""
    base: float = 1.0

    def __post_init__(self) -> None:
        """Refuses steps that make no sense.

        Raises:
            UsageError: see the messages.
        """
        if self.begin < 0:
            raise UsageError("mask: begin must not be negative.")
        if self.frequency < 1:
            raise UsageError("mask: frequency must be at least 1.")
        self._check_source()
        if self.end is None and self.shape not in ("constant", "table", "tensor"):
            raise UsageError(f"mask: the {self.shape} schedule needs end=STEP.")
        if self.end is not None and self.end < self.begin + (self.shape != "constant"):
            raise UsageError("mask: end must come after begin.")
        if not 0.0 <= self.initial <= 1.0:
            raise UsageError("mask: initial is a share of the target, between 0 and 1.")
        if not self.power > 0 or self.steps < 1:
            raise UsageError("mask: power and steps must be positive.")

    def _check_source(self) -> None:
        if bool(self.table) != (self.shape == "table"):
            raise UsageError("mask: schedule=table needs table=SHARE;SHARE;…, and only that does.")
        if bool(self.tensor) != (self.shape == "tensor"):
            raise UsageError("mask: schedule=tensor needs tensor=NAME:0, and only that does.")
        if not all(0.0 <= share <= 1.0 for share in self.table):
            raise UsageError("mask: table holds shares of the target, between 0 and 1.")

    def share(self, step: int) -> float:
        """The share of the target that is asked for at ``step`` (not for ``tensor``)."""
        if self.table:
            place = max((step - self.begin) // self.frequency, 0)
            return self.table[min(place, len(self.table) - 1)]
        if self.shape == "constant" or self.end is None:
            return 1.0
        p = min(max((step - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return 1.0 + (self.initial - 1.0) * self._decay(p)

    def _decay(self, p: float) -> float:
        match self.shape:
            case "polynomial":
                return (1.0 - p) ** self.power
            case "linear":
                return 1.0 - p
            case "exponential":
                return (math.exp(-_FALL * p) - math.exp(-_FALL)) / (1.0 - math.exp(-_FALL))
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * p))
            case "multistep":
                return 1.0 - math.floor(p * self.steps) / self.steps
            case "constant" | "table" | "tensor":
                return 0.0

    def write(self, writer: Writer, step: TensorRef) -> TensorRef:
        """The share of the target at the int64 scalar ``step``, as a float64 scalar."""
        one = writer.scalar(DType.DOUBLE, 1.0)
        if self.table:
            return self._write_table(writer, step)
        if self.shape == "constant" or self.end is None:
            return one
        span = writer.scalar(DType.DOUBLE, float(self.end - self.begin))
        since = writer.binary("Sub", step, writer.scalar(DType.INT64, self.begin), DType.INT64)
        p = writer.binary("RealDiv", writer.cast(since, DType.INT64, DType.DOUBLE), span)
        p = writer.binary("Minimum", p, one)
        p = writer.binary("Maximum", p, writer.scalar(DType.DOUBLE, 0.0))
        fall = writer.scalar(DType.DOUBLE, self.initial - 1.0)
        rest = writer.binary("Mul", fall, self._write_decay(writer, p, one))
        return writer.binary("Add", one, rest)

    def _write_table(self, writer: Writer, step: TensorRef) -> TensorRef:
        def number(value: int) -> TensorRef:
            return writer.scalar(DType.INT64, value)

        since = writer.binary("Sub", step, number(self.begin), DType.INT64)
        place = writer.binary("FloorDiv", since, number(self.frequency), DType.INT64)
        place = writer.binary("Minimum", place, number(len(self.table) - 1), DType.INT64)
        place = writer.binary("Maximum", place, number(0), DType.INT64)
        table = writer.constant(constants.vector(DType.DOUBLE, self.table), "table")
        attrs: dict[str, AttrValue] = {
            "Tparams": DType.DOUBLE,
            "Tindices": DType.INT64,
            "Taxis": DType.INT32,
            "batch_dims": 0,
        }
        inputs = (table, place, writer.scalar(DType.INT32, 0))
        return writer.add("GatherV2", "share", inputs, attrs)

    def _write_decay(self, writer: Writer, p: TensorRef, one: TensorRef) -> TensorRef:
        def number(value: float) -> TensorRef:
            return writer.scalar(DType.DOUBLE, value)

        match self.shape:
            case "polynomial":
                return writer.binary("Pow", writer.binary("Sub", one, p), number(self.power))
            case "exponential":
                low = math.exp(-_FALL)
                power = writer.unary("Exp", writer.binary("Mul", p, number(-_FALL)))
                above = writer.binary("Sub", power, number(low))
                fall = writer.binary("RealDiv", above, number(1.0 - low))
                at_end = writer.cast(writer.compare("Less", p, one), DType.BOOL, DType.DOUBLE)
                return writer.binary("Mul", fall, at_end)
            case "cosine":
                wave = writer.unary("Cos", writer.binary("Mul", p, number(math.pi)))
                return writer.binary("Mul", writer.binary("Add", wave, one), number(0.5))
            case "multistep":
                steps = number(float(self.steps))
                done = writer.unary("Floor", writer.binary("Mul", p, steps))
                return writer.binary("Sub", one, writer.binary("RealDiv", done, steps))
            case _:
                return writer.binary("Sub", one, p)

    def to_json(self) -> dict[str, Any]:
        """The schedule as plain data."""
        return {
            "schedule": self.shape,
            "begin": self.begin,
            "end": self.end,
            "frequency": self.frequency,
            "initial": self.initial,
        }
