"""Channels through ops that move elements about: concatenations, reshapes, reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphrev.analysis.channels.grouping import regrouped
from graphrev.analysis.channels.tracking import MOST_CHANNELS, Atoms, Target, Tracker
from graphrev.analysis.dims import axes as from_front
from graphrev.io.tensors import integers
from graphrev.ir import Node, TensorRef, TensorValue

REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min", "Prod"})
LIKE_A_SHAPE = frozenset({"Fill", "RandomUniform", "RandomStandardNormal", "TruncatedNormal"})
PADS = frozenset({"Pad", "PadV2", "MirrorPad", "SpaceToBatchND", "BatchToSpaceND"})


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


def _numbers(tracker: Tracker, ref: TensorRef) -> tuple[int, ...] | None:
    value = tracker.shapes.values.get(ref)
    if value is None:
        return None
    known = tuple(item for item in value if isinstance(item, int))
    return known if len(known) == len(value) else None


def _fix(tracker: Tracker, node: Node, count: int = 1, data: int = 0) -> None:
    if tracker.is_fixed_tensor(node.inputs[data]):
        tracker.found.fixed.update(TensorRef(node.name, index) for index in range(count))


def _moved(tracker: Tracker, node: Node, places: Mapping[int, int | None]) -> None:
    """The axis ``a`` of the input is ``places[a]`` of the output; ``None``: it is folded away."""
    result: dict[int, Atoms] = {}
    for axis, atoms in tracker.axes(node.inputs[0]).items():
        place = places.get(axis)
        if place is None:
            tracker.block(atoms, "mixed", node.name, f"'{node.name}' folds them into one")
        else:
            result[place] = atoms
    tracker.put(TensorRef(node.name), result)
    _fix(tracker, node)


def _unknown(tracker: Tracker, node: Node) -> None:
    tracker.opaque(node, f"what '{node.name}' does with them depends on a shape that is not known")


def _reduce(tracker: Tracker, node: Node) -> None:
    dims, over = tracker.dims(node.inputs[0]), _numbers(tracker, node.inputs[1])
    if dims is None or over is None:
        _unknown(tracker, node)
        return
    gone = from_front(over, len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in gone]
    if node.attrs.get("keep_dims") is True:
        _moved(tracker, node, {axis: axis for axis in kept})
    else:
        _moved(tracker, node, {axis: place for place, axis in enumerate(kept)})


def _squeeze(tracker: Tracker, node: Node) -> None:
    """Without ``squeeze_dims`` it would drop channels as well once there is only one."""
    dims, listed = tracker.dims(node.inputs[0]), node.attrs.get("squeeze_dims")
    if dims is None or not isinstance(listed, tuple) or not listed:
        _unknown(tracker, node)
        return
    gone = from_front([item for item in listed if isinstance(item, int)], len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in gone]
    _moved(tracker, node, {axis: place for place, axis in enumerate(kept)})


def _expand(tracker: Tracker, node: Node) -> None:
    dims, at = tracker.dims(node.inputs[0]), _numbers(tracker, node.inputs[1])
    if dims is None or not at:
        _unknown(tracker, node)
        return
    place = at[0] % (len(dims) + 1)
    _moved(tracker, node, {axis: axis + (axis >= place) for axis in range(len(dims))})


def _transpose(tracker: Tracker, node: Node) -> None:
    order = _numbers(tracker, node.inputs[1])
    if order is None:
        _unknown(tracker, node)
        return
    _moved(tracker, node, {axis: place for place, axis in enumerate(order)})


def _pad(tracker: Tracker, node: Node) -> None:
    """Padding, and the blocks of a dilated convolution, leave the last axis alone."""
    axes, dims = tracker.axes(node.inputs[0]), tracker.dims(node.inputs[0])
    if dims is None:
        _unknown(tracker, node)
        return
    if node.op.endswith("ND"):
        block = _numbers(tracker, node.inputs[1])
        free = frozenset() if block is None else frozenset(range(len(block) + 1, len(dims)))
    else:
        widths = _numbers(tracker, node.inputs[1]) or (1,) * 2 * len(dims)
        free = frozenset(a for a in range(len(dims)) if not any(widths[2 * a : 2 * a + 2]))
    result: dict[int, Atoms] = {}
    for axis, atoms in axes.items():
        if axis in free:
            result[axis] = atoms
        else:
            tracker.block(atoms, "mixed", node.name, f"'{node.name}' adds to them")
    tracker.put(TensorRef(node.name), result)


def _concat(tracker: Tracker, node: Node) -> None:
    place = 0 if node.op == "Concat" else len(node.inputs) - 1
    parts = [ref for position, ref in enumerate(node.inputs) if position != place]
    at, shapes = _numbers(tracker, node.inputs[place]), [tracker.dims(ref) for ref in parts]
    known = [dims for dims in shapes if dims is not None]
    if not any(tracker.axes(ref) for ref in parts):
        return
    if not at or len(known) < len(parts):
        _unknown(tracker, node)
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
        _unknown(tracker, node)
        return None
    found: list[Atoms] = []
    for ref, size in zip(parts, sizes):
        atoms = tracker.axes(ref).get(axis)
        if atoms is None and isinstance(size, int) and size > MOST_CHANNELS:
            _unknown(tracker, node)
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
    at = _numbers(tracker, node.inputs[2 if node.op == "SplitV" else 0])
    dims, axes = tracker.dims(data), tracker.axes(data)
    if not axes:
        return
    count = node.attrs.get("num_split")
    outputs = [TensorRef(node.name, i) for i in range(count if isinstance(count, int) else 0)]
    shapes = [tracker.dims(ref) for ref in outputs]
    if dims is None or not at or any(shape is None for shape in shapes):
        _unknown(tracker, node)
        return
    along = at[0] % len(dims)
    sizes = [shape[along] for shape in shapes if shape is not None]
    start = 0
    for ref, size in zip(outputs, sizes):
        result = {axis: atoms for axis, atoms in axes.items() if axis != along}
        if along in axes:
            if not isinstance(size, int):
                _unknown(tracker, node)
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


def _reshape(tracker: Tracker, node: Node) -> None:
    data, target = node.inputs[0], node.inputs[1]
    axes = tracker.axes(data)
    _fix(tracker, node)
    if not axes:
        return
    output = TensorRef(node.name)
    old, new = tracker.dims(data), tracker.dims(output)
    if old is None or new is None or (len(axes) > 1 and old != new):
        _unknown(tracker, node)
        return
    result: dict[int, Atoms] = {}
    for axis, atoms in axes.items():
        found = regrouped(old, new, axis, atoms)
        spelled = None if found is None else is_spelled_out(tracker, target, found.new)
        if found is None or spelled is None:
            what = "mixes them with other axes" if found is None else "has a computed shape"
            tracker.block(atoms, "mixed", node.name, f"'{node.name}' {what}")
            continue
        result[found.new] = atoms[found.index]
        tracker.found.regroupings[node.name] = found
        if spelled:
            tracker.found.targets.append(Target(node.name, 1, found.new))
    tracker.put(output, result)


def _shape(tracker: Tracker, node: Node) -> None:
    """A shape may be read for other sizes than that of the channels."""
    axes = tracker.axes(node.inputs[0])
    for name in tracker.graph.readers.get(node.name, ()) if axes else ():
        if tracker.graph[name].op in LIKE_A_SHAPE:
            continue
        taken = _taken(tracker, tracker.graph[name])
        for axis, atoms in axes.items():
            if taken is None or axis in taken:
                tracker.block(atoms, "mixed", name, f"'{name}' reads how many there are")


def _like(tracker: Tracker, node: Node) -> None:
    """A tensor as large as another (dropout draws one) has its channels.

    Where its size is spelled out instead, its last axis may have any.
    """
    target, ref = node.inputs[0], TensorRef(node.name)
    source, dims = tracker.graph[target.node], tracker.dims(ref)
    if source.op == "Shape":
        tracker.put(ref, tracker.axes(source.inputs[0]))
    elif dims and isinstance(dims[-1], int) and 0 < dims[-1] <= MOST_CHANNELS:
        if not is_spelled_out(tracker, target, len(dims) - 1):
            return
        tracker.put(ref, {len(dims) - 1: tracker.fresh(dims[-1])})
        tracker.found.targets.append(Target(node.name, 0, len(dims) - 1))


def _taken(tracker: Tracker, node: Node) -> range | None:
    """The elements that a slice takes of a vector; ``None`` for all, or where it is not known."""
    if node.op != "StridedSlice" or len(node.inputs) != 4:
        return None
    begin, end, stride = (_numbers(tracker, ref) for ref in node.inputs[1:])
    shrink = node.attrs.get("shrink_axis_mask") == 1
    masked = any(node.attrs.get(key) for key in ("ellipsis_mask", "new_axis_mask", "end_mask"))
    if not begin or not end or stride != (1,) or masked or begin[0] < 0 or end[0] < 0:
        return None
    first = 0 if node.attrs.get("begin_mask") else begin[0]
    return range(first, first + 1 if shrink else end[0])


def _rank(tracker: Tracker, node: Node) -> None:
    """The rank stays what it is."""


Rule = Callable[[Tracker, Node], None]
LAYOUT_RULES: dict[str, Rule] = {
    **{op: _reduce for op in REDUCTIONS},
    **{op: _pad for op in PADS},
    **{op: _like for op in LIKE_A_SHAPE},
    "Concat": _concat,
    "ConcatV2": _concat,
    "ExpandDims": _expand,
    "Rank": _rank,
    "Reshape": _reshape,
    "Shape": _shape,
    "Split": _split,
    "SplitV": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}
