"""The words of the reversible pass: halves, chains, and how a stream is recovered.

A residual pair ``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)`` is two *halves* of one form,
``y = p + h(q)``: the first with ``p = x1, q = x2, h = f``, the second with ``p = x2, q = y1,
h = g``. A half maps the state ``{p, q}`` (the two live streams) to ``{y, q}`` and is undone by
``p = y - h(q)`` (Gomez et al. 2017, "The Reversible Residual Network", section 3.2). A block is a
chain of halves, each of which starts from the state the one before left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from graphrev.ir import TensorRef


class Recovery(Enum):
    """How ``p`` follows from ``y`` and ``h``; the sum decides."""

    Y_MINUS_H = "y - h"
    Y_PLUS_H = "y + h"
    H_MINUS_Y = "h - y"


@dataclass(frozen=True, slots=True)
class Half:
    """``y = p + h(q)`` (or a difference); every tensor but ``h`` is a stream.

    Attributes:
        y: the sum's output.
        p: the stream that is added to, through identities; recovered in the backward pass.
        q: the stream that h is computed from, through identities.
        h: the other operand as the sum reads it.
        recovery: how p is recovered.
    """

    y: TensorRef
    p: TensorRef
    q: TensorRef
    h: TensorRef
    recovery: Recovery

    @property
    def before(self) -> frozenset[TensorRef]:
        """The two streams this half starts from."""
        return frozenset((self.p, self.q))

    @property
    def after(self) -> frozenset[TensorRef]:
        """The two streams it leaves behind."""
        return frozenset((self.y, self.q))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two halves that belong together, and the mark that said so (``None``: found by structure)."""

    first: Half
    second: Half
    mark: str | None = None

    @property
    def halves(self) -> tuple[Half, Half]:
        """Both halves in forward order."""
        return (self.first, self.second)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes a message about this pair should name: y1, y2, x1, x2."""
        named = (self.first.y, self.second.y, self.first.p, self.second.p)
        return tuple(ref.node for ref in named)


@dataclass(frozen=True, slots=True)
class Chain:
    """A block: halves in forward order, each starting from the state the one before left."""

    name: str
    halves: tuple[Half, ...]

    @property
    def inputs(self) -> tuple[TensorRef, TensorRef]:
        """The streams the chain starts from, ``(p, q)`` of its first half."""
        return (self.halves[0].p, self.halves[0].q)

    @property
    def outputs(self) -> tuple[TensorRef, TensorRef]:
        """The streams it ends with: the other stream, then the last sum."""
        return (self.halves[-1].q, self.halves[-1].y)

    @property
    def streams(self) -> tuple[TensorRef, ...]:
        """Every stream tensor, oldest first."""
        return (*self.inputs, *(half.y for half in self.halves))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes a message about this chain should name: its ends."""
        ends = (*self.inputs, *self.outputs)
        return tuple(dict.fromkeys(ref.node for ref in ends))
