"""Channels through ops that work on each element, or on each channel, by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphrev.analysis.channels.tracking import Atoms, Tracker
from graphrev.analysis.shape_inputs import integers
from graphrev.ir import Node, TensorRef

UNARY = frozenset(
    "Identity StopGradient PreventGradient CheckNumerics Snapshot Cast Relu Relu6 LeakyRelu Elu "
    "Selu Sigmoid Tanh Softplus Softsign Abs Neg Square Sqrt Rsqrt Exp Log Log1p Expm1 Erf Sin Cos "
    "Reciprocal Inv Sign Floor Ceil Round Rint ZerosLike OnesLike".split()
)
BINARY = frozenset(
    "Add AddV2 Sub Mul RealDiv Div DivNoNan Maximum Minimum SquaredDifference Pow MulNoNan Less "
    "LessEqual Greater GreaterEqual Equal NotEqual SelectV2".split()
)
RESIZES = frozenset({"ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea"})
POOLS = frozenset({"MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"})
NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


def channel_axis(node: Node, rank: int) -> int:
    """The channel axis of what ``node`` reads and puts out, by its data format."""
    data_format = node.attrs.get("data_format", b"NHWC")
    is_first = isinstance(data_format, bytes) and data_format.startswith(b"NC")
    return 1 if is_first else rank - 1


def _mark_fixed(tracker: Tracker, node: Node) -> None:
    if tracker.is_fixed(node):
        tracker.found.fixed.add(TensorRef(node.name))


def unary(tracker: Tracker, node: Node) -> None:
    """The output's channels are the input's."""
    tracker.put(TensorRef(node.name), tracker.axes(node.inputs[0]))
    _mark_fixed(tracker, node)


def binary(tracker: Tracker, node: Node) -> None:
    """Operands are broadcast together (numpy's rule); those with channels share them."""
    _mark_fixed(tracker, node)
    refs = node.inputs
    if not any(tracker.axes(ref) for ref in refs):
        return
    shapes = [tracker.dims(ref) for ref in refs]
    ranks = [len(dims) for dims in shapes if dims is not None]
    if len(ranks) < len(refs):
        tracker.opaque(node, f"'{node.name}' combines them with a tensor of unknown rank")
        return
    rank = max(ranks)
    axes: dict[int, Atoms] = {}
    for axis in range(rank):
        atoms = _together(tracker, node, refs, ranks, rank - axis)
        if atoms is not None:
            axes[axis] = atoms
    tracker.put(TensorRef(node.name), axes)


def _together(
    tracker: Tracker, node: Node, refs: Sequence[TensorRef], ranks: Sequence[int], back: int
) -> Atoms | None:
    """The atoms along the axis that is ``back`` from the end, of all operands that have them."""
    found: list[Atoms] = []
    strangers: list[TensorRef] = []
    for ref, rank in zip(refs, ranks):
        atoms = tracker.axes(ref).get(rank - back)
        dims = tracker.dims(ref)
        if atoms is not None:
            found.append(atoms)
        elif rank >= back and dims is not None and dims[rank - back] != 1:
            strangers.append(ref)
    sizes = {len(atoms) for atoms in found}
    if not found:
        return None
    if strangers or len(sizes) > 1:
        other = strangers[0].node if strangers else node.name
        for atoms in found:
            reason = f"'{node.name}' combines them with '{other}', which is not made by a kernel"
            tracker.block(atoms, "opaque", node.name, reason)
        return None
    for atoms in found[1:]:
        tracker.unify(found[0], atoms)
    return found[0]


def _bias(tracker: Tracker, node: Node) -> None:
    dims = tracker.dims(node.inputs[0])
    axes, added = tracker.axes(node.inputs[0]), tracker.axes(node.inputs[1])
    if dims is None:
        tracker.opaque(node, f"the rank of what '{node.name}' reads is not known")
        return
    _mark_fixed(tracker, node)
    at = channel_axis(node, len(dims))
    result = dict(axes)
    _share(tracker, node, result, at, added.get(0))
    tracker.put(TensorRef(node.name), result)


def _share(
    tracker: Tracker, node: Node, axes: dict[int, Atoms], at: int, vector: Atoms | None
) -> None:
    """A vector holds a number for each channel along ``at``."""
    if vector is None or (at in axes and len(axes[at]) != len(vector)):
        if at in axes:
            reason = f"'{node.name}' reads a vector beside them that is not followed"
            tracker.block(axes.pop(at), "opaque", node.name, reason)
        return
    if at in axes:
        tracker.unify(axes[at], vector)
    else:
        reason = f"'{node.name}' applies them to '{node.inputs[0].node}', not made by a kernel"
        tracker.block(vector, "opaque", node.name, reason)


def _norm(tracker: Tracker, node: Node) -> None:
    """Scale, offset, mean and variance hold a number for each channel.

    In training mode mean and variance are empty, and the outputs 1 and 2 are the batch's.
    """
    result = dict(tracker.axes(node.inputs[0]))
    at = channel_axis(node, 4)
    is_training = node.attrs.get("is_training", True) is True
    for ref in node.inputs[1 : 3 if is_training else 5]:
        _share(tracker, node, result, at, tracker.axes(ref).get(0))
    tracker.put(TensorRef(node.name), result)
    if at in result:
        for index in (1, 2, 3, 4):
            tracker.put(TensorRef(node.name, index), {0: result[at]})


def _pool(tracker: Tracker, node: Node) -> None:
    window, steps = integers(node, "ksize"), integers(node, "strides")
    axes = tracker.axes(node.inputs[0])
    at = channel_axis(node, len(window))
    is_along = len(window) == len(steps) > at and window[at] == steps[at] == 1
    if not is_along or not set(axes) <= {at}:
        tracker.opaque(node, f"'{node.name}' takes windows over them")
        return
    tracker.put(TensorRef(node.name), axes)


def _resize(tracker: Tracker, node: Node) -> None:
    axes = tracker.axes(node.inputs[0])
    if not set(axes) <= {3}:
        tracker.opaque(node)
        return
    tracker.put(TensorRef(node.name), axes)


Rule = Callable[[Tracker, Node], None]
ELEMENTWISE_RULES: dict[str, Rule] = {
    **{op: unary for op in UNARY},
    **{op: binary for op in BINARY},
    **{op: _pool for op in POOLS},
    **{op: _norm for op in NORMS},
    **{op: _resize for op in RESIZES},
    "AddN": binary,
    "BiasAdd": _bias,
}
