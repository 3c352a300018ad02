"""Channels side by side: concatenations and splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphrev.analysis.channels.known import is_spelled_out, numbers, unknown
from graphrev.analysis.channels.tracking import MOST_CHANNELS, Atoms, Tracker
from graphrev.analysis.shape_rules import kept_outputs
from graphrev.ir import Node, TensorRef


def _concat(tracker: Tracker, node: Node) -> None:
    place = 0 if node.op == "Concat" else len(node.inputs) - 1
    parts = [ref for position, ref in enumerate(node.inputs) if position != place]
    at, shapes = numbers(tracker, node.inputs[place]), [tracker.dims(ref) for ref in parts]
    known = [dims for dims in shapes if dims is not None]
    if not any(tracker.axes(ref) for ref in parts):
        return
    ranks = {len(dims) for dims in known}
    if not at or len(known) < len(parts) or len(ranks) != 1 or not known[0]:
        unknown(tracker, node)
        return
    along = at[0] % len(known[0])
    result: dict[int, Atoms] = {}
    for axis in range(len(known[0])):
        listed = [tracker.axes(ref).get(axis) for ref in parts]
        if all(atoms is None for atoms in listed):
            continue
        joined = _joined(tracker, node, parts, axis) if axis == along else None
        if axis != along:
            joined = _alike(tracker, node, listed)
        if joined is not None:
            result[axis] = joined
    tracker.put(TensorRef(node.name), result)
    if all(tracker.is_fixed_tensor(ref) for ref in parts):
        tracker.found.fixed.add(TensorRef(node.name))


def _joined(tracker: Tracker, node: Node, parts: list[TensorRef], axis: int) -> Atoms | None:
    """The parts' channels side by side; those of a part that is not followed have to stay."""
    sizes = [dims[axis] for dims in map(tracker.dims, parts) if dims is not None]
    if not all(isinstance(size, int) for size in sizes):
        unknown(tracker, node)
        return None
    found: list[Atoms] = []
    for ref, size in zip(parts, sizes):
        atoms = tracker.axes(ref).get(axis)
        if atoms is None and isinstance(size, int) and size > MOST_CHANNELS:
            unknown(tracker, node)
            return None
        if atoms is None and isinstance(size, int):
            atoms = tracker.fresh(size)
            tracker.block(atoms, "fed", ref.node, f"'{ref.node}' has channels no kernel makes")
        if atoms is not None:
            found.append(atoms)
    return np.concatenate(found)


def _alike(tracker: Tracker, node: Node, listed: list[Atoms | None]) -> Atoms | None:
    found = [atoms for atoms in listed if atoms is not None]
    if len(found) < len(listed) or len({len(atoms) for atoms in found}) > 1:
        tracker.opaque(node)
        return None
    for atoms in found[1:]:
        tracker.unify(found[0], atoms)
    return found[0]


def _split(tracker: Tracker, node: Node) -> None:
    """The parts' channels; a part of one channel keeps it, for it would be broadcast."""
    data = node.inputs[0 if node.op == "SplitV" else 1]
    at = numbers(tracker, node.inputs[2 if node.op == "SplitV" else 0])
    dims, axes = tracker.dims(data), tracker.axes(data)
    if not axes:
        return
    count = kept_outputs(node)
    outputs = [TensorRef(node.name, i) for i in range(count)]
    shapes = [tracker.dims(ref) for ref in outputs]
    if not dims or not at or not count or any(shape is None for shape in shapes):
        unknown(tracker, node)
        return
    along = at[0] % len(dims)
    sizes = [shape[along] for shape in shapes if shape is not None]
    start = 0
    for ref, size in zip(outputs, sizes):
        result = {axis: atoms for axis, atoms in axes.items() if axis != along}
        if along in axes:
            if not isinstance(size, int):
                unknown(tracker, node)
                return
            part = axes[along][start : start + size]
            start += size
            if size == 1:
                tracker.block(part, "mixed", node.name, f"'{node.name}' takes one by itself")
            result[along] = part
        tracker.put(ref, result)
    if along in axes and node.op == "SplitV" and is_spelled_out(tracker, node.inputs[1], 0) is None:
        reason = f"the sizes '{node.name}' splits them into are computed"
        tracker.block(axes[along], "mixed", node.name, reason)


Rule = Callable[[Tracker, Node], None]
JOIN_RULES: dict[str, Rule] = {
    "Concat": _concat,
    "ConcatV2": _concat,
    "Split": _split,
    "SplitV": _split,
}
