"""What a criterion or a regrowth policy reads beside the kernel, found when the plan is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphrev.ir import DType, Graph, TensorRef
from graphrev.passes.mask.roles import HANDS_VARIABLE_ON

if TYPE_CHECKING:
    from graphrev.passes.mask.plan import GradientMask

_READS = HANDS_VARIABLE_ON | {"ReadVariableOp"}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a joined kernel: ``size`` elements from ``begin`` on, along each axis."""

    begin: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slope:
    """Where the dense gradient of a kernel comes from.

    Attributes:
        parts: the gradients to sum, each with the views to undo.
        weights: the read of the kernel that the forward pass made.
        updates: the ops that then change the kernel.
        pieces: where the kernel lies in what a join puts out, by the join's output.
    """

    parts: tuple[GradientMask, ...]
    weights: TensorRef
    updates: tuple[str, ...]
    pieces: Mapping[TensorRef, Piece] = field(default_factory=dict[TensorRef, Piece])


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the graph: a batch norm's scale, an optimizer's slot."""

    name: str
    dtype: DType
    is_resource: bool
    device: str


@dataclass(frozen=True, slots=True)
class Signals:
    """What is read beside one kernel.

    Attributes:
        slope: its gradient.
        scale: the scale of the batch norm behind it.
        slots: the optimizer's slots that start at 0 where a weight is grown.
    """

    slope: Slope | None = None
    scale: Variable | None = None
    slots: tuple[Variable, ...] = ()


NO_SIGNALS = Signals()


def variable_of(graph: Graph, ref: TensorRef) -> Variable | None:
    """The variable that a tensor is a read of, or the handle of."""
    node = graph[ref.node]
    while node.op in _READS and node.inputs:
        node = graph[node.inputs[0].node]
    dtype = node.attrs.get("dtype")
    if node.op not in ("VarHandleOp", "VariableV2", "Variable") or not isinstance(dtype, DType):
        return None
    return Variable(node.name, dtype.base, node.op == "VarHandleOp", node.device)
