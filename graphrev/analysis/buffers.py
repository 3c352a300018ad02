"""Whose buffer a tensor may be: what an op hands out without copying it.

A write in place to a reference variable changes every tensor that shares its buffer. Besides the
ops that never copy (``Identity``, ``Reshape``) there are those whose kernels hand their input on
where nothing is left to do or where a contiguous part of it will do: a transposition that moves no
element, the rows of a ``Slice``, the pieces of a ``Split`` along the first axis, a sum over axes
of size 1, a ``Cast`` to the same type (core/kernels/transpose_op.cc, slice_op.cc, split_op.cc,
reduction_ops_common.h, cast_op.cc). TensorFlow 1.15 and 2.21 agree; tests/analysis/test_buffers.py
asks them. Where the graph alone cannot tell, the buffer counts as shared.
"""

from __future__ import annotations

from graphrev.analysis import ops
from graphrev.io.tensors import integers
from graphrev.ir import Graph, Node, Shape, TensorRef, TensorValue

_CLOSE_LOOPS = frozenset({"NextIteration", "RefNextIteration"})
"""Nothing is followed around a loop: what enters it is found by the other way."""
_SWITCHES = frozenset({"Switch", "RefSwitch"})
_PARTS = _SWITCHES | {"SplitV", "Unpack"}
"""Every output may lie in input 0."""
_SOMETIMES = frozenset(
    "Slice StridedSlice Tile Pad PadV2 MirrorPad BroadcastTo MatrixBandPart BatchToSpaceND "
    "SpaceToBatchND Sum Mean Prod Max Min Any All Print DebugIdentity Einsum AddN Pack Cast "
    "Transpose".split()
)
"""Output 0 is input 0, or a part of it, where there is nothing to compute."""
_OF_ONE = frozenset({"AddN", "Pack", "Einsum"})
"""Only where they have a single input."""


def shared_input(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """The input of ``ref``'s node whose buffer ``ref`` may be, or a part of; ``None`` for none."""
    node = graph[ref.node]
    place = shared_place(node.op, len(node.inputs), ref.index)
    if place is None:
        return None
    if node.op == "Transpose" and _moves_elements(graph, node):
        return None
    if node.op == "Cast" and node.attrs.get("SrcT") != node.attrs.get("DstT"):
        return None
    return node.inputs[place]


def shared_place(op: str, inputs: int, output: int) -> int | None:
    """The position of the input whose buffer an output may be, told by the op's type alone.

    Args:
        inputs: how many tensors the op reads.
        output: which of its outputs is asked about.
    """
    if op in _CLOSE_LOOPS:
        return None
    if op == "IdentityN":
        place = output
    elif op == "Split":
        place = 1
    elif op in _PARTS:
        place = 0
    elif output or not (ops.is_aliasing(op) or op in _SOMETIMES):
        return None
    else:
        place = 0
    return place if place < inputs and not (op in _OF_ONE and inputs > 1) else None


def _moves_elements(graph: Graph, node: Node) -> bool:
    """Whether a transposition copies for sure: it reorders axes of a variable, none of size 1."""
    given = graph[node.inputs[1].node].attrs.get("value")
    order = integers(given) if isinstance(given, TensorValue) else None
    if order is None or list(order) == sorted(order):
        return False
    source = graph[node.inputs[0].node]
    while source.op in ("Identity", "RefIdentity") and source.inputs:
        source = graph[source.inputs[0].node]
    shape = source.attrs.get("shape") if ops.is_variable(source.op) else None
    if not isinstance(shape, Shape) or shape.dims is None:
        return False
    return all(dim is not None and dim > 1 for dim in shape.dims)
