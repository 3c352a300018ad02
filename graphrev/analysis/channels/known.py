"""What is known of the integers that spell shapes and axes."""

from __future__ import annotations

from graphrev.analysis.channels.tracking import Tracker
from graphrev.io.tensors import integers
from graphrev.ir import Node, TensorRef, TensorValue


def is_spelled_out(tracker: Tracker, operand: TensorRef, axis: int) -> bool | None:
    """Whether an integer tensor that spells a shape holds the size along ``axis`` as a constant.

    ``None`` where it is computed, so that nobody could change it.
    """
    node = tracker.graph[operand.node]
    value = node.attrs.get("value")
    if isinstance(value, TensorValue):
        spelled = integers(value)
        return None if spelled is None or axis >= len(spelled) else spelled[axis] != -1
    if node.op == "Pack" and axis < len(node.inputs):
        part = tracker.graph[node.inputs[axis].node].attrs.get("value")
        alone = integers(part) if isinstance(part, TensorValue) else None
        return None if not alone else alone[0] != -1
    return None


def numbers(tracker: Tracker, ref: TensorRef) -> tuple[int, ...] | None:
    """The elements of an integer tensor; ``None`` where not all are known."""
    value = tracker.shapes.values.get(ref)
    if value is None:
        return None
    known = tuple(item for item in value if isinstance(item, int))
    return known if len(known) == len(value) else None


def unknown(tracker: Tracker, node: Node) -> None:
    """Keeps all channels that ``node`` reads: it depends on a shape nobody knows."""
    tracker.opaque(node, f"what '{node.name}' does with them depends on a shape that is not known")
