"""The gradient of a kernel in the kernel's own shape, before its mask is applied.

What the backward pass holds is the gradient of what a product read: the kernel seen through views.
The views are undone one by one and the gradients of several products summed; of a joined kernel's
each part takes its own. This is the dense gradient: that of dropped weights is not 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from types import MappingProxyType

from graphrev.analysis.shapes import Shapes
from graphrev.ir import DType, Graph, TensorRef
from graphrev.passes.mask.criteria import float_of
from graphrev.passes.mask.joins import piece_of
from graphrev.passes.mask.nodes import Writer
from graphrev.passes.mask.plan import GradientMask
from graphrev.passes.mask.roles import JOINS
from graphrev.passes.mask.signals import Piece, Slope
from graphrev.passes.mask.trace import Kernel

_SAME = frozenset({"Identity", "StopGradient", "PreventGradient"})
_RESHAPES = frozenset({"Reshape", "ExpandDims", "Squeeze"})
_UNDONE = _SAME | _RESHAPES | JOINS | {"Cast", "Transpose"}


def slope_of(
    graph: Graph,
    kernel: Kernel,
    gradients: Sequence[GradientMask],
    updates: Sequence[str],
    step: Collection[str],
    inside: Collection[str],
    shapes: Shapes | None,
) -> Slope | str:
    """Where the gradient is found, or a sentence why it is not.

    A loop that a kernel enters sums its gradient up and hands it out at an ``Exit``, in the shape
    of what was entered; of nested loops that counts at the outermost one.

    Args:
        updates: the ops that change the kernel.
        step: the nodes that a training step runs.
        inside: the nodes that lie in loops and branches.
        shapes: where kernels are joined, the shapes of the graph's tensors.
    """
    if not gradients:
        return "the graph holds no gradient of it."
    for gradient in gradients:
        if gradient.tensor.node not in step:
            return f"its gradient '{gradient.tensor.node}' is no part of the training step."
        strange = [v.node for v in gradient.views if graph[v.node].op not in _UNDONE]
        if strange or gradient.path or gradient.tensor.node in inside:
            where = strange[0] if strange else gradient.tensor.node
            return f"its gradient lies in a loop or a branch at '{where}'."
    outside = [read.tensor for read in kernel.reads if not read.path]
    if not outside:
        return "it is read in loops or branches alone."
    pieces = _pieces(graph, gradients, shapes)
    if isinstance(pieces, str):
        return f"it is joined in '{pieces}' at a place that is not known."
    return Slope(tuple(gradients), outside[0], tuple(updates), MappingProxyType(pieces))


def _pieces(
    graph: Graph, gradients: Sequence[GradientMask], shapes: Shapes | None
) -> dict[TensorRef, Piece] | str:
    """Where the kernel lies in each join on the way to its products, or a join that hides it."""
    found: dict[TensorRef, Piece] = {}
    for gradient in gradients:
        for source, view in zip((gradient.read, *gradient.views), gradient.views):
            if graph[view.node].op in JOINS:
                if shapes is None or source is None:
                    return view.node
                piece = piece_of(shapes, view, source)
                if piece is None:
                    return view.node
                found[view] = piece
    return found


def in_part(kernel: Kernel, gradients: Sequence[GradientMask]) -> tuple[GradientMask, ...]:
    """The gradients of kernels that are joined as one of them sees them: through its own views."""
    reads = {tensor: read for _, tensor, read in kernel.uses()}
    found: list[GradientMask] = []
    for gradient in gradients:
        used = gradient.views[-1] if gradient.views else gradient.read
        read = None if used is None else reads.get(used)
        if used is not None and read is not None:
            own = replace(gradient, views=read.chain(used), path=read.path, read=read.tensor)
            found.append(own)
    return tuple(found)


def write_slope(writer: Writer, graph: Graph, slope: Slope, dtype: DType) -> TensorRef:
    """Adds the gradient in the kernel's shape, of type ``float_of(dtype)``."""
    parts = [_in_own_shape(writer, graph, slope, part, dtype) for part in slope.parts]
    total = parts[0]
    if len(parts) > 1:
        total = writer.add("AddN", "gradient", parts, {"T": dtype, "N": len(parts)})
    return writer.cast(total, dtype, float_of(dtype))


def _in_own_shape(
    writer: Writer, graph: Graph, slope: Slope, part: GradientMask, dtype: DType
) -> TensorRef:
    value, kind = part.tensor, _seen_as(graph, part, dtype)
    for view in reversed(part.views):
        node = graph[view.node]
        source = node.inputs[0]
        if node.op == "Cast":
            before = node.dtype_attr("SrcT")
            value, kind = writer.cast(value, kind, before), before
        elif node.op == "Transpose":
            order = node.attrs.get("Tperm", DType.INT32)
            inverse = writer.add("InvertPermutation", "back", (node.inputs[1],), {"T": order})
            value = writer.add("Transpose", "back", (value, inverse), {"T": kind, "Tperm": order})
        elif node.op in _RESHAPES:
            attrs = {"T": kind, "out_type": DType.INT32}
            shape = writer.add("Shape", "shape", (source,), attrs)
            attrs = {"T": kind, "Tshape": DType.INT32}
            value = writer.add("Reshape", "back", (value, shape), attrs)
        elif node.op in JOINS:
            value = _cut_out(writer, graph[value.node].device, slope.pieces[view], value, kind)
    return value


def _cut_out(writer: Writer, device: str, piece: Piece, value: TensorRef, kind: DType) -> TensorRef:
    """Adds the slice of a joined kernel's gradient, beside it: only the part's own travels."""
    beside = replace(writer, device=device, place=None)
    corners = (beside.vector(DType.INT32, piece.begin), beside.vector(DType.INT32, piece.size))
    return beside.add("Slice", "part", (value, *corners), {"T": kind, "Index": DType.INT32})


def _seen_as(graph: Graph, part: GradientMask, dtype: DType) -> DType:
    """The type the product read the kernel as."""
    for view in part.views:
        node = graph[view.node]
        if node.op == "Cast":
            after = node.dtype_attr("DstT")
            dtype = after
    return dtype
