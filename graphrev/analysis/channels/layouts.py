"""Channels through ops that move elements about: reshapes, reductions, padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphrev.analysis.channels.grouping import regrouped
from graphrev.analysis.channels.known import is_spelled_out, numbers, unknown
from graphrev.analysis.channels.tracking import MOST_CHANNELS, Atoms, Target, Tracker
from graphrev.analysis.dims import axes as from_front
from graphrev.ir import Node, TensorRef

REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min", "Prod"})
LIKE_A_SHAPE = frozenset({"Fill", "RandomUniform", "RandomStandardNormal", "TruncatedNormal"})
PADS = frozenset({"Pad", "PadV2", "MirrorPad", "SpaceToBatchND", "BatchToSpaceND"})


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


def _reduce(tracker: Tracker, node: Node) -> None:
    dims, over = tracker.dims(node.inputs[0]), numbers(tracker, node.inputs[1])
    if dims is None or over is None:
        unknown(tracker, node)
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
        unknown(tracker, node)
        return
    gone = from_front([item for item in listed if isinstance(item, int)], len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in gone]
    _moved(tracker, node, {axis: place for place, axis in enumerate(kept)})


def _expand(tracker: Tracker, node: Node) -> None:
    dims, at = tracker.dims(node.inputs[0]), numbers(tracker, node.inputs[1])
    if dims is None or not at:
        unknown(tracker, node)
        return
    place = at[0] % (len(dims) + 1)
    _moved(tracker, node, {axis: axis + (axis >= place) for axis in range(len(dims))})


def _transpose(tracker: Tracker, node: Node) -> None:
    order = numbers(tracker, node.inputs[1])
    if order is None:
        unknown(tracker, node)
        return
    _moved(tracker, node, {axis: place for place, axis in enumerate(order)})


def _pad(tracker: Tracker, node: Node) -> None:
    """Padding, and the blocks of a dilated convolution, leave the last axis alone."""
    axes, dims = tracker.axes(node.inputs[0]), tracker.dims(node.inputs[0])
    if dims is None:
        unknown(tracker, node)
        return
    if node.op.endswith("ND"):
        block = numbers(tracker, node.inputs[1])
        free = frozenset() if block is None else frozenset(range(len(block) + 1, len(dims)))
    else:
        widths = numbers(tracker, node.inputs[1]) or (1,) * 2 * len(dims)
        free = frozenset(a for a in range(len(dims)) if not any(widths[2 * a : 2 * a + 2]))
    result: dict[int, Atoms] = {}
    for axis, atoms in axes.items():
        if axis in free:
            result[axis] = atoms
        else:
            tracker.block(atoms, "mixed", node.name, f"'{node.name}' adds to them")
    tracker.put(TensorRef(node.name), result)


def _reshape(tracker: Tracker, node: Node) -> None:
    data, target = node.inputs[0], node.inputs[1]
    axes = tracker.axes(data)
    _fix(tracker, node)
    if not axes:
        return
    output = TensorRef(node.name)
    old, new = tracker.dims(data), tracker.dims(output)
    if old is None or new is None or (len(axes) > 1 and old != new):
        unknown(tracker, node)
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
    begin, end, stride = (numbers(tracker, ref) for ref in node.inputs[1:])
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
    "ExpandDims": _expand,
    "Rank": _rank,
    "Reshape": _reshape,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}
