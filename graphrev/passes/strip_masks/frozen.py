"""Masks of a frozen graph: products of two constants, one of them all zeros and ones.

They are found by what they are, so graphs that ``tf.contrib.model_pruning`` masked are stripped
just like ours; a node's name plays no part.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrev.io import constants
from graphrev.io.tensors import UnreadableConstantError
from graphrev.ir import DType, Graph, Node, TensorRef, TensorValue
from graphrev.ir.marks import UNFROZEN, role_of
from graphrev.passes.strip_masks.plan import Fold

_VIEWS = frozenset(
    {"Identity", "Cast", "Transpose", "Reshape", "ExpandDims", "Squeeze", "Enter", "ConcatV2"}
)
_PRODUCTS = frozenset(
    "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum Conv2D Conv3D DepthwiseConv2dNative "
    "Conv2DBackpropInput Conv3DBackpropInputV2 Conv2DBackpropInputV2 Conv3DBackpropInput".split()
)
_SMALLEST_RANK = 2
"""Of a product that nothing says is a masked kernel: vectors are scales, not kernels."""


def find_folds(graph: Graph) -> Iterator[Fold]:
    """The products of a constant mask and a constant kernel."""
    for name, node in graph.nodes.items():
        if node.op != "Mul" or len(node.inputs) != 2:
            continue
        values = [_constant(graph, ref) for ref in node.inputs]
        first, second = values
        if first is None or second is None or not _fit(first[1], second[1]):
            continue
        is_vector = len(first[1].shape.dims or ()) < _SMALLEST_RANK
        if role_of(node) != "masked_weight" and (is_vector or not _feeds_product(graph, name)):
            continue
        mask = 0 if constants.is_mask(first[1]) else 1
        if mask and not constants.is_mask(second[1]):
            continue
        kernel = values[1 - mask]
        assert kernel is not None
        try:
            value = constants.product(first[1], second[1])
        except UnreadableConstantError:
            continue
        yield Fold(name, kernel[0], _source(graph, node.inputs[1 - mask]), value)


def _source(graph: Graph, read: TensorRef) -> TensorRef:
    """What the product's readers are to read: what read the constant before it was unfrozen."""
    node = graph[read.node]
    return node.inputs[0] if role_of(node) == UNFROZEN.decode() else read


def _constant(graph: Graph, ref: TensorRef) -> tuple[str, TensorValue] | None:
    node = graph[ref.node]
    while hands_on(node):
        node = graph[node.inputs[0].node]
    value = node.attrs.get("value")
    if node.op != "Const" or not isinstance(value, TensorValue):
        return None
    return node.name, value


def hands_on(node: Node) -> bool:
    """Whether the node only passes a constant on, into a loop maybe."""
    return node.op == "Identity" or (node.op == "Enter" and node.attrs.get("is_constant") is True)


def _fit(left: TensorValue, right: TensorValue) -> bool:
    if left.dtype is not right.dtype or not left.dtype.is_floating:
        return False
    if left.dtype is DType.BFLOAT16:
        return False
    return left.shape == right.shape


def _feeds_product(graph: Graph, name: str) -> bool:
    """Whether a product or convolution reads it, directly or through views."""
    pending, seen = [name], {name}
    while pending:
        for reader in graph.readers.get(pending.pop(), ()):
            node = graph[reader]
            if node.op in _PRODUCTS:
                return True
            if node.op in _VIEWS and reader not in seen:
                seen.add(reader)
                pending.append(reader)
    return False


def unread(graph: Graph, folds: tuple[Fold, ...]) -> tuple[str, ...]:
    """The nodes that only served the folded products: the masks and their reads."""
    gone: dict[str, None] = {fold.product: None for fold in folds}
    kept = {fold.source.node for fold in folds}
    pending = list(gone)
    while pending:
        for ref in graph[pending.pop()].inputs:
            name = ref.node
            if name in gone or name in kept or not _serves(graph[name]):
                continue
            waiting = graph.control_readers.get(name, ())
            if all(reader in gone for reader in (*graph.readers.get(name, ()), *waiting)):
                gone[name] = None
                pending.append(name)
    return tuple(gone)


def _serves(node: Node) -> bool:
    return node.op == "Const" or hands_on(node)
