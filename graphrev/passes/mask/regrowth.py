"""Which dropped weights come back: the policies, as frozen objects that add nodes.

At each update a share of the weights that are kept is given up (the ones of the smallest score) and
as many others grow. A grown weight starts at 0, and so do the optimizer's slots for it; what is
zero in the end is exactly what the schedule asks for.

Sources: Mocanu et al. 2018 (SET, arXiv:1707.04780), Evci et al. 2020 (RigL, arXiv:1911.11134).
"""

from __future__ import annotations

import math
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from graphrev.errors import UsageError
from graphrev.ir import AttrValue, DType, Graph, TensorRef
from graphrev.passes.mask.criteria import finite, uniform
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.schedule import Schedule
from graphrev.passes.mask.signals import Variable, variable_of
from graphrev.pipeline.policies import Policy


@dataclass(frozen=True, slots=True)
class Growing:
    """What a policy may look at when masks are updated.

    Attributes:
        dims: the kernel's shape.
        kernel: its name.
        step: the number of the training step, an int64 scalar.
        gradient: the kernel's dense gradient, of type ``dtype``, where the policy needs it.
        dtype: float32 or float64.
    """

    dims: tuple[int, ...]
    kernel: str
    step: TensorRef
    gradient: TensorRef | None
    dtype: DType


@dataclass(frozen=True)
class Regrowth(Policy):
    """Which dropped weights come back."""

    kind: ClassVar[str] = "regrowth"
    grows: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False

    @property
    def anneals(self) -> bool:
        """Whether the share that is exchanged falls to 0 at the end of the schedule."""
        return False

    @abstractmethod
    def __call__(self, writer: Writer, growing: Growing) -> TensorRef:
        """Adds the scores to grow by, largest first: not negative, finite, of type ``dtype``."""

    def fraction(self, writer: Writer, schedule: Schedule, step: TensorRef) -> TensorRef:
        """Adds the share of the kept weights that is exchanged, a float64 scalar."""
        del schedule, step
        return writer.scalar(DType.DOUBLE, 0.0)


@dataclass(frozen=True)
class NoRegrowth(Regrowth):
    """None on purpose: a weight returns only when its score does."""

    name: ClassVar[str] = "none"
    grows: ClassVar[bool] = False

    def __call__(self, writer: Writer, growing: Growing) -> TensorRef:
        """Is never asked."""
        raise NotImplementedError


NO_REGROWTH = NoRegrowth()


@dataclass(frozen=True)
class _Exchange(Regrowth):
    """A share of the kept weights is exchanged at each update.

    Attributes:
        drop_fraction: the share at ``begin``, between 0 and 1.
        anneal: ``cosine`` lets it fall to 0 at ``end``; ``constant`` keeps it.
    """

    drop_fraction: float = 0.3
    anneal: Literal["cosine", "constant"] = "cosine"

    def __post_init__(self) -> None:
        """Refuses a fraction out of range.

        Raises:
            UsageError: it is.
        """
        if not 0.0 < self.drop_fraction < 1.0:
            raise UsageError(f"mask: the drop_fraction of {self.name} must be between 0 and 1.")

    @property
    def anneals(self) -> bool:
        """Whether ``anneal`` is ``cosine``."""
        return self.anneal == "cosine"

    def fraction(self, writer: Writer, schedule: Schedule, step: TensorRef) -> TensorRef:
        """``drop_fraction / 2 * (1 + cos(pi * share of the schedule that has passed))``."""
        whole = writer.scalar(DType.DOUBLE, self.drop_fraction)
        if not self.anneals or schedule.end is None:
            return whole
        begin = writer.scalar(DType.INT64, schedule.begin)
        since = writer.cast(
            writer.binary("Sub", step, begin, DType.INT64), DType.INT64, DType.DOUBLE
        )
        span = writer.scalar(DType.DOUBLE, math.pi / max(schedule.end - schedule.begin, 1))
        angle = writer.binary("Mul", since, span)
        angle = writer.binary("Minimum", angle, writer.scalar(DType.DOUBLE, math.pi))
        wave = writer.unary(
            "Cos", writer.binary("Maximum", angle, writer.scalar(DType.DOUBLE, 0.0))
        )
        raised = writer.binary("Add", wave, writer.scalar(DType.DOUBLE, 1.0))
        return writer.binary("Mul", raised, writer.scalar(DType.DOUBLE, self.drop_fraction / 2.0))


@dataclass(frozen=True)
class SET(_Exchange):
    """Random weights grow, drawn from the seed, the kernel's name and the step.

    Attributes:
        seed: another one, another draw.
    """

    name: ClassVar[str] = "set"

    seed: int = 0

    def __call__(self, writer: Writer, growing: Growing) -> TensorRef:
        """Random numbers."""
        key = writer.scalar(DType.INT64, (zlib.crc32(growing.kernel.encode()) << 16) + self.seed)
        attrs: dict[str, AttrValue] = {"T": DType.INT64, "N": 2, "axis": 0}
        seed = writer.add("Pack", "seed", (key, growing.step), attrs)
        return writer.cast(uniform(writer, growing.dims, seed), DType.FLOAT, growing.dtype)


@dataclass(frozen=True)
class RigL(_Exchange):
    """The weights with the largest gradients grow."""

    name: ClassVar[str] = "rigl"
    needs_gradient: ClassVar[bool] = True

    def __call__(self, writer: Writer, growing: Growing) -> TensorRef:
        """The magnitudes of the dense gradient."""
        assert growing.gradient is not None
        size = writer.unary("Abs", growing.gradient, growing.dtype)
        return finite(writer, size, growing.dtype)


_SLOTS = {
    "Momentum": (1,),
    "KerasMomentum": (1,),
    "Adam": (1, 2),
    "AdaMax": (1, 2),
    "AdamWithAmsgrad": (1, 2, 3),
    "Adadelta": (1, 2),
    "RMSProp": (2,),
    "CenteredRMSProp": (3,),
    "AddSign": (1,),
    "PowerSign": (1,),
}
"""The inputs of optimizer ops that hold averages of past gradients, which start at 0."""


def slots_of(graph: Graph, updates: Sequence[str]) -> tuple[Variable, ...]:
    """The slots that the ops ``updates`` keep of past gradients."""
    return tuple(dict.fromkeys(_slots(graph, updates)))


def _slots(graph: Graph, updates: Sequence[str]) -> Iterator[Variable]:
    for name in updates:
        node = graph[name]
        kind = node.op.removeprefix("Resource").removeprefix("Apply")
        for place in _SLOTS.get(kind, ()):
            slot = variable_of(graph, node.inputs[place])
            if slot is not None:
                yield slot
