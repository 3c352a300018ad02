"""Recognises the sums that can join a stream: Add, AddV2, AddN of two, Sub on either side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphrev.ir import Node, TensorRef
from graphrev.passes.reversible.halves import Recovery

SUM_OPS = frozenset({"Add", "AddV2", "AddN", "Sub"})


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a sum as ``y = p + h``: which operand is the stream."""

    y: TensorRef
    p: TensorRef
    h: TensorRef
    recovery: Recovery


def is_sum(node: Node) -> bool:
    """Whether ``node`` adds or subtracts exactly two tensors."""
    return node.op in SUM_OPS and len(node.inputs) == 2


def readings(node: Node) -> Iterator[Reading]:
    """Both ways to read a sum, first operand as the stream first."""
    left, right = node.inputs
    y = TensorRef(node.name)
    if node.op == "Sub":
        yield Reading(y, left, right, Recovery.Y_PLUS_H)
        yield Reading(y, right, left, Recovery.H_MINUS_Y)
    else:
        yield Reading(y, left, right, Recovery.Y_MINUS_H)
        yield Reading(y, right, left, Recovery.Y_MINUS_H)
