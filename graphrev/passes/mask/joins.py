"""Kernels that are joined (partitions of one, usually) are masked together or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphrev.analysis.frames_gradients import constant_integer
from graphrev.analysis.shapes import Shapes
from graphrev.ir import Graph, TensorRef
from graphrev.passes.mask.plan import GradientMask
from graphrev.passes.mask.rewiring import copied_views, rewires
from graphrev.passes.mask.roles import JOINS
from graphrev.passes.mask.signals import Piece
from graphrev.passes.mask.trace import Kernel
from graphrev.pipeline import Code, Rejection

_Matched = tuple[Kernel, tuple[GradientMask, ...]]


def joined(graph: Graph, kernels: Sequence[Kernel]) -> dict[str, str]:
    """For each kernel the first kernel it is joined with (itself for most)."""
    owner: dict[str, str] = {}
    groups: dict[str, str] = {}
    for kernel in kernels:
        group = kernel.name
        for read in kernel.reads:
            for tensor in read.edges:
                if graph[tensor.node].op in JOINS:
                    group = owner.setdefault(tensor.node, group)
        groups[kernel.name] = group
    return groups


def piece_of(shapes: Shapes, join: TensorRef, source: TensorRef) -> Piece | None:
    """Where ``source`` lies in what a join puts out, if sizes and axis are known."""
    graph = shapes.graph
    *parts, last = graph[join.node].inputs
    axis = constant_integer(graph, last)
    if axis is None or parts.count(source) != 1:
        return None
    dims = [shapes.of(part).dims for part in parts[: parts.index(source) + 1]]
    known = [tuple(size for size in each or () if size is not None) for each in dims]
    rank = len(known[-1])
    if any(each is None or len(each) != rank or len(own) != rank for each, own in zip(dims, known)):
        return None
    if not -rank <= axis < rank:
        return None
    begin = sum(own[axis] for own in known[:-1])
    return Piece(tuple(begin if at == axis % rank else 0 for at in range(rank)), known[-1])


def drop_torn(graph: Graph, matched: Sequence[_Matched]) -> tuple[Rejection, ...]:
    """Rejections for kernels that are joined with something that is not masked.

    The gradient of the joined tensor is masked as a whole, so every part must have its mask.
    """
    left = dict((kernel.name, (kernel, masks)) for kernel, masks in matched)
    rejected: dict[str, Rejection] = {}
    while True:
        masked = {
            read.tensor for kernel, _ in left.values() for read in kernel.reads if not read.path
        }
        torn: dict[str, str] = {}
        for name, (kernel, masks) in left.items():
            join = next(_torn(graph, kernel, masks, masked), None)
            if join is not None:
                torn[name] = join
        if not torn:
            return tuple(rejected.values())
        for name, join in torn.items():
            del left[name]
            reason = f"Kernel '{name}' is joined in '{join}' with what is not masked."
            rejected[name] = Rejection(Code.KERNEL_SHARED, reason, (name, join))


def _torn(
    graph: Graph, kernel: Kernel, masks: tuple[GradientMask, ...], masked: set[TensorRef]
) -> Iterator[str]:
    for gradient in masks:
        for view in gradient.views:
            node = graph[view.node]
            if node.op in JOINS and any(ref not in masked for ref in node.inputs[:-1]):
                yield view.node
    for read in kernel.reads:
        for view in copied_views(rewires(read)):
            if graph[view].op in JOINS:
                yield view
