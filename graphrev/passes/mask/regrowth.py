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
from graphrev.passes.mask.select import Selection, select
from graphrev.passes.mask.signals import Variable, variable_of
from graphrev.pipeline.policies import Policy

_WHOLE = DType.INT32


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


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A new mask with what grew in it.

    Attributes:
        selection: of the scores' type; its threshold is the largest score that was given up.
        grown: the weights that were dropped and are kept now, a bool tensor.
    """

    selection: Selection
    grown: TensorRef


def exchange(
    writer: Writer,
    active: TensorRef,
    scores: tuple[TensorRef, DType],
    grow_by: tuple[TensorRef, DType],
    zeros: TensorRef,
    fraction: TensorRef,
    dims: tuple[int, ...],
) -> Exchanged:
    """Keeps the best of the active weights and grows others, ``zeros`` dropped in the end.

    Args:
        active: the weights kept so far, a bool tensor of shape ``dims``.
        scores: what the active ones are worth, and the type.
        grow_by: what the others are worth, and the type.
        zeros: how many to drop, an int32 tensor of shape [1].
        fraction: the share that is exchanged, a float64 scalar.
    """
    size = math.prod(dims)
    retained = _retained(writer, active, zeros, fraction, size)
    given_up = writer.binary("Sub", writer.scalar(_WHOLE, size), retained, _WHOLE)
    worth, dtype = scores
    least = writer.scalar(dtype, _SMALLEST[dtype])
    worth = writer.binary("Maximum", writer.unary("Abs", worth, dtype), least, dtype)
    worth = _where(writer, active, worth, writer.unary("ZerosLike", worth, dtype), dtype)
    first = select(writer, worth, dtype, given_up, dims)
    stays = _is_one(writer, first.mask, dtype)
    wish, grow_type = grow_by
    endless = writer.add(
        "Fill",
        "endless",
        (writer.vector(_WHOLE, dims), writer.scalar(grow_type, math.inf)),
        {"T": grow_type, "index_type": _WHOLE},
    )
    wish = _where(writer, stays, endless, wish, grow_type)
    second = select(writer, wish, grow_type, zeros, dims)
    kept = _is_one(writer, second.mask, grow_type)
    was_dropped = writer.add("LogicalNot", "dropped", (active,), {})
    grown = writer.add("LogicalAnd", "grown", (kept, was_dropped), {})
    return Exchanged(Selection(writer.cast(kept, DType.BOOL, dtype), first.threshold), grown)


_SMALLEST = {
    DType.HALF: 2.0**-14,
    DType.BFLOAT16: 2.0**-126,
    DType.FLOAT: 2.0**-126,
    DType.DOUBLE: 2.0**-1022,
}
"""The smallest normal number: an active weight of score 0 stays above those that are dropped."""


def _retained(
    writer: Writer, active: TensorRef, zeros: TensorRef, fraction: TensorRef, size: int
) -> TensorRef:
    """How many of the active weights stay, an int32 tensor of shape [1], at least 1."""
    kept = writer.binary("Sub", writer.scalar(_WHOLE, size), zeros, _WHOLE)
    exact = writer.binary("Mul", writer.cast(kept, _WHOLE, DType.DOUBLE), fraction)
    exchanged = writer.cast(writer.unary("Round", exact), DType.DOUBLE, _WHOLE)
    stays = writer.binary("Sub", kept, exchanged, _WHOLE)
    flags = writer.cast(writer.reshape(active, (-1,), DType.BOOL), DType.BOOL, _WHOLE)
    attrs: dict[str, AttrValue] = {"T": _WHOLE, "Tidx": _WHOLE, "keep_dims": True}
    count = writer.add("Sum", "active", (flags, writer.vector(_WHOLE, (0,))), attrs)
    stays = writer.binary("Minimum", stays, count, _WHOLE)
    return writer.binary("Maximum", stays, writer.scalar(_WHOLE, 1), _WHOLE)


def _is_one(writer: Writer, mask: TensorRef, dtype: DType) -> TensorRef:
    return writer.compare("Greater", mask, writer.scalar(dtype, 0.0), dtype)


def _where(
    writer: Writer, flags: TensorRef, yes: TensorRef, no: TensorRef, dtype: DType
) -> TensorRef:
    return writer.add("Select", "Select", (flags, yes, no), {"T": dtype})


def without_grown(writer: Writer, value: TensorRef, grown: TensorRef, dtype: DType) -> TensorRef:
    """``value`` with 0 where a weight has grown."""
    return _where(writer, grown, writer.unary("ZerosLike", value, dtype), value, dtype)
