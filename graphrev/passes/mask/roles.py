"""Which ops multiply by a kernel, which only hand it on, and what their gradients look like.

Everything goes by op type and input position. The gradient forms are those of TensorFlow's
``math_grad.py`` and ``nn_grad.py`` (1.15 and 2.x agree): a product's gradient with respect to its
kernel is again a product, of its other operand and the incoming gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphrev.ir import Node

MATRIX_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"})
EINSUM = "Einsum"
_FILTER = {
    "Conv2D": 1,
    "Conv3D": 1,
    "DepthwiseConv2dNative": 1,
    "Conv2DBackpropInput": 1,
    "Conv2DBackpropInputV2": 1,
    "Conv3DBackpropInput": 1,
    "Conv3DBackpropInputV2": 1,
    "DepthwiseConv2dNativeBackpropInput": 1,
}
CONVOLUTIONS = frozenset(_FILTER)
"""Their filter is input 1. The BackpropInput ops are transposed convolutions or input gradients:
both multiply by the kernel."""

VIEWS = frozenset(
    "Identity StopGradient PreventGradient Cast Transpose Reshape ExpandDims Squeeze Enter "
    "Switch DeepCopy".split()
)
"""Ops whose output holds the elements of input 0 and nothing else; the reversible pass keeps the
value of a variable that is overwritten early with a DeepCopy."""
HANDLE_VIEWS = frozenset({"Identity", "Enter", "Switch"})
"""What hands a resource variable on to what reads or writes it; an optimizer may run in a branch,
where the gradients are finite."""
REFERENCE_VIEWS = frozenset({"RefIdentity", "RefEnter", "RefSwitch"})
"""The same of a reference variable, to what writes it."""
HANDS_VARIABLE_ON = HANDLE_VIEWS | REFERENCE_VIEWS
JOINS = frozenset({"ConcatV2"})
"""Ops that put kernels (partitions of one, usually) side by side."""
METADATA = frozenset({"Shape", "ShapeN", "Size", "Rank"})
LOOKUPS = frozenset({"Gather", "GatherV2", "GatherNd", "ResourceGather", "ResourceGatherNd"})

_FILTER_GRADIENTS = {
    "Conv2DBackpropFilter": frozenset({"Conv2D", "Conv2DBackpropInput"}),
    "Conv2DBackpropFilterV2": frozenset({"Conv2D", "Conv2DBackpropInputV2"}),
    "Conv3DBackpropFilter": frozenset({"Conv3D", "Conv3DBackpropInput"}),
    "Conv3DBackpropFilterV2": frozenset({"Conv3D", "Conv3DBackpropInputV2"}),
    "DepthwiseConv2dNativeBackpropFilter": frozenset(
        {"DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropInput"}
    ),
}


@dataclass(frozen=True, slots=True)
class Use:
    """Op ``node`` multiplies by the kernel it reads at input ``position``."""

    node: str
    position: int


def kernel_positions(node: Node) -> tuple[int, ...]:
    """The input positions of ``node`` that a kernel may be read at."""
    if node.op in CONVOLUTIONS:
        return (1,)
    if node.op in MATRIX_PRODUCTS:
        return (0, 1)
    if node.op == EINSUM:
        return tuple(range(len(node.inputs)))
    return ()


def data_position(node: Node, kernel: int) -> int | None:
    """Where ``node`` reads what it multiplies the kernel at input ``kernel`` with."""
    if node.op in CONVOLUTIONS:
        return 2 if len(node.inputs) > 2 else 0
    return 1 - kernel if len(node.inputs) == 2 else None


def is_filter_gradient(op: str) -> bool:
    """Whether the op is the gradient of a convolution with respect to its filter."""
    return op in _FILTER_GRADIENTS


def gradient_slot(use: Use, node: Node, candidate: Node) -> int | None:
    """Where ``candidate`` must read the data of ``use`` to be its gradient for the kernel.

    ``None`` when ``candidate`` is no op of that form.
    """
    if node.op in CONVOLUTIONS:
        if node.op not in _FILTER_GRADIENTS.get(candidate.op, ()):
            return None
        return data_position(node, use.position)
    if candidate.op != node.op:
        return None
    if node.op == EINSUM:
        return -1
    return _product_slot(use.position, _transposed(node), _transposed(candidate))


_PRODUCT_FORMS = {
    (1, (False, False)): (0, (True, False)),
    (1, (False, True)): (1, (True, False)),
    (1, (True, False)): (0, (False, False)),
    (1, (True, True)): (1, (True, True)),
    (0, (False, False)): (1, (False, True)),
    (0, (False, True)): (1, (False, False)),
    (0, (True, False)): (0, (False, True)),
    (0, (True, True)): (0, (True, True)),
}
"""``_MatMulGrad``: for the kernel's position and the product's transpositions, where its gradient
reads the other operand and how it transposes."""


def _product_slot(kernel: int, form: tuple[bool, bool], candidate: tuple[bool, bool]) -> int | None:
    slot, wanted = _PRODUCT_FORMS[kernel, form]
    return slot if candidate == wanted else None


def _transposed(node: Node) -> tuple[bool, bool]:
    if node.op == "MatMul":
        keys = ("transpose_a", "transpose_b")
    else:
        keys = ("adj_x", "adj_y")
    return bool(node.attrs.get(keys[0], False)), bool(node.attrs.get(keys[1], False))
