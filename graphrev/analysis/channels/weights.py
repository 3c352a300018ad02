"""Where channels begin and rest: constants, variables, and what saves and starts them."""

from __future__ import annotations

from collections.abc import Callable

from graphrev.analysis.channels.tracking import MOST_CHANNELS, Initial, Tracker
from graphrev.analysis.ops import is_variable
from graphrev.io import constants
from graphrev.ir import DType, Graph, Node, Shape, TensorRef, TensorValue

_FIXED = 3
"""A save op reads the file name, tensor names and slices before the tensors."""


def _constant(tracker: Tracker, node: Node) -> None:
    value = node.attrs.get("value")
    if isinstance(value, TensorValue):
        _give(tracker, node, value.dtype, value.shape)


def _variable(tracker: Tracker, node: Node) -> None:
    dtype, shape = node.attrs.get("dtype"), node.attrs.get("shape")
    if isinstance(dtype, DType) and isinstance(shape, Shape):
        _give(tracker, node, dtype.base, shape)


def _give(tracker: Tracker, node: Node, dtype: DType, shape: Shape) -> None:
    ref = TensorRef(node.name)
    tracker.found.fixed.add(ref)
    dims = shape.dims
    if not dtype.is_floating or not dims or None in dims:
        return
    sizes = [dim or 0 for dim in dims]
    if any(size > MOST_CHANNELS for size in sizes) or 0 in sizes:
        return
    axes = {axis: tracker.fresh(dim) for axis, dim in enumerate(sizes) if dim > 1}
    if axes:
        tracker.put(ref, axes)
        tracker.found.parameters[node.name] = None


def _read(tracker: Tracker, node: Node) -> None:
    tracker.put(TensorRef(node.name), tracker.axes(node.inputs[0]))
    if tracker.is_fixed_tensor(node.inputs[0]):
        tracker.found.fixed.add(TensorRef(node.name))


def _assign(tracker: Tracker, node: Node) -> None:
    """What a variable starts as has its channels; what is restored has them already."""
    variable, value = node.inputs
    axes = tracker.axes(variable)
    if not axes:
        tracker.opaque(node)
        return
    if not is_variable(tracker.graph[variable.node].op):
        tracker.opaque(node)
        return
    source = tracker.graph[value.node]
    while source.op == "Identity":
        source = tracker.graph[source.inputs[0].node]
    if source.op in ("RestoreV2", "Restore", "RestoreSlice"):
        return
    started = tracker.axes(value)
    if not started or not tracker.is_fixed_tensor(value):
        tracker.found.initials.append(Initial(node.name, variable.node))
        return
    for axis, atoms in axes.items():
        if axis in started and len(started[axis]) == len(atoms):
            tracker.unify(atoms, started[axis])
        else:
            tracker.opaque(node)


def _save(tracker: Tracker, node: Node) -> None:
    """A variable saved as a part of a larger tensor has to keep its size."""
    slices = tracker.graph[node.inputs[2].node].attrs.get("value") if len(node.inputs) > 2 else None
    spelled = constants.string_values(slices) if isinstance(slices, TensorValue) else ()
    for place, ref in enumerate(node.inputs[_FIXED:]):
        if place >= len(spelled) or spelled[place]:
            variable = origin(tracker.graph, ref.node)
            reason = (
                f"'{node.name}' saves '{variable}' as a part of a larger tensor (freeze the graph, "
                "and they go)"
            )
            tracker.block_all((ref,), "opaque", node.name, reason)


def _nothing(tracker: Tracker, node: Node) -> None:
    """Reads no values."""


Rule = Callable[[Tracker, Node], None]
WEIGHT_RULES: dict[str, Rule] = {
    "Const": _constant,
    "VariableV2": _variable,
    "Variable": _variable,
    "VarHandleOp": _variable,
    "ReadVariableOp": _read,
    "Assign": _assign,
    "AssignVariableOp": _assign,
    "SaveV2": _save,
    "SaveSlices": _save,
    "IsVariableInitialized": _nothing,
    "VarIsInitializedOp": _nothing,
    "DestroyResourceOp": _nothing,
    "DisableCopyOnRead": _nothing,
    "NoOp": _nothing,
}


def origin(graph: Graph, name: str) -> str:
    """The constant or variable that a kernel is, seen through reads and views.

    Of a kernel that is put together from parts, the first.
    """
    while graph[name].op in _VIEWS:
        name = graph[name].inputs[graph[name].op == "Concat"].node
    return name


_VIEWS = frozenset(
    "Identity ReadVariableOp Cast ExpandDims Reshape Squeeze Transpose Concat ConcatV2".split()
)
