"""What the pass looks for in functions, and the anchors of the loops it finds there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrev.ir import Function
from graphrev.ir.marks import pair_marks
from graphrev.passes.reversible.loops.blocks import Limits
from graphrev.passes.reversible.sums import is_sum


def anchors(limits: Limits, blocks: Sequence[dict[str, Any]]) -> int | None:
    """How often a loop that carries its streams saves them; ``None``: never.

    Args:
        limits: what bounds the drift.
        blocks: what was rewritten in the loop's body, as plain data.
    """
    drift = max(
        (block["estimated_drift"] for block in blocks if "saved_streams" in block), default=0.0
    )
    return limits.every(drift)


def _has_marks(function: Function) -> bool:
    return any(pair_marks(node) for node in function.nodes.values())


def _has_sums(function: Function) -> bool:
    return sum(is_sum(node) for node in function.nodes.values()) > 1


WANTED = {"marked": _has_marks, "structural": _has_sums}
"""Whether a function may hold pairs, by where the pass looks for them."""
