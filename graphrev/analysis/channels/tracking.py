"""Channels as atoms: numbers given to the places along an axis of a tensor.

Two places with the same atom (after :meth:`Tracker.unify`) are the same channel: whoever removes
one removes the other. A kernel gives its output a fresh atom for each of its filters; what works
channel by channel hands atoms on, a sum unifies those of its operands, a concatenation puts them
side by side and a flattening repeats each. An op that cannot do without some of its channels
*blocks* their atoms and says why. Axes of size 1 are broadcast over and have no atoms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from graphrev.analysis.dims import Dims
from graphrev.analysis.shapes import Shapes
from graphrev.ir import Graph, Node, TensorRef

Atoms: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
MOST_CHANNELS = 1 << 18
"""A longer axis is not followed: a few damaged bytes may claim any size."""
BlockKind = Literal["fed", "fetched", "opaque", "mixed", "opted_out"]
_NO_AXES: Mapping[int, Atoms] = {}


@dataclass(frozen=True, slots=True)
class Block:
    """Why channels must stay: ``node`` reads or makes them and cannot do without some of them."""

    kind: BlockKind
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product: it sums over the channels of ``data``.

    Attributes:
        node: the op.
        data, data_axis: what is multiplied and which of its axes is summed over.
        kernel: the weights, ``in_axis`` the axis that is summed over, ``out_axis`` the other.
        axis: the axis of the output that the kernel's filters make.
        is_padded: whether zeros beyond the border are multiplied too, or outputs made of fewer
            weights, so that a channel that is constant does not give a constant.
    """

    node: str
    data: TensorRef
    data_axis: int
    kernel: TensorRef
    in_axis: int
    out_axis: int
    axis: int
    is_padded: bool


@dataclass(frozen=True, slots=True)
class Depthwise:
    """A convolution of each channel by itself: output channel ``i * times + m`` is of input ``i``.

    The kernel's last two axes are the input channels and ``times``.
    """

    node: str
    data: TensorRef
    data_axis: int
    kernel: TensorRef
    times: int
    is_padded: bool


@dataclass(frozen=True, slots=True)
class Regrouping:
    """A reshape of the axis ``old``, alone or with others, to the axis ``new``.

    Attributes:
        index: for each place along ``new`` the place along ``old`` that it is of.
        copies: where ``old`` is a flattening, for each place along it the one along ``new``.
    """

    old: int
    new: int
    index: Atoms
    copies: Atoms | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Integer input ``position`` of ``node`` spells the size of its output along ``axis``."""

    node: str
    position: int
    axis: int


@dataclass(frozen=True, slots=True)
class Initial:
    """Input 1 of the assignment ``node`` is what the variable starts as, in its full shape."""

    node: str
    variable: str


@dataclass(eq=False)
class Channels:
    """The channels of a graph.

    Attributes:
        axes: for each tensor the atoms along those of its axes that are followed.
        fixed: tensors made of constants and variables alone: weights and what is computed of them.
        parameters: constants and variables with atoms, in graph order.
        roots: for each atom the one that stands for all it was unified with.
        results: nodes whose outputs leave the graph, so that their values must be what they were.
        blocks: by root, why the channel must stay.
    """

    graph: Graph
    shapes: Shapes
    axes: dict[TensorRef, dict[int, Atoms]] = field(default_factory=dict[TensorRef, Any])
    fixed: set[TensorRef] = field(default_factory=set[TensorRef])
    parameters: dict[str, None] = field(default_factory=dict[str, None])
    products: list[Product] = field(default_factory=list[Product])
    depthwise: list[Depthwise] = field(default_factory=list[Depthwise])
    regroupings: dict[str, Regrouping] = field(default_factory=dict[str, Regrouping])
    targets: list[Target] = field(default_factory=list[Target])
    initials: list[Initial] = field(default_factory=list[Initial])
    results: set[str] = field(default_factory=set[str])
    roots: Atoms = field(default_factory=lambda: np.zeros(0, np.int64))
    blocks: dict[int, Block] = field(default_factory=dict[int, Block])

    def of(self, ref: TensorRef, axis: int) -> Atoms | None:
        """The roots along an axis; ``None`` where the axis is not followed."""
        atoms = self.axes.get(ref, _NO_AXES).get(axis)
        return None if atoms is None else self.roots[atoms]


class Tracker:
    """Gives atoms out, unifies and blocks them; rules work on it node by node."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self.graph = graph
        self.shapes = shapes
        self.found = Channels(graph, shapes)
        self._parents: Atoms = np.arange(1024, dtype=np.int64)
        self._count = 0
        self._blocks: list[tuple[Atoms, Block]] = []

    def axes(self, ref: TensorRef) -> Mapping[int, Atoms]:
        """The atoms of a tensor by axis."""
        return self.found.axes.get(ref, _NO_AXES)

    def dims(self, ref: TensorRef) -> Dims:
        """The tensor's dimensions."""
        return self.shapes.dims(ref)

    def fresh(self, count: int) -> Atoms:
        """New atoms."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._parents):
            size = max(2 * len(self._parents), self._count)
            grown = np.arange(size, dtype=np.int64)
            grown[:start] = self._parents[:start]
            self._parents = grown
        return np.arange(start, self._count, dtype=np.int64)

    def put(self, ref: TensorRef, axes: Mapping[int, Atoms]) -> None:
        """Gives a tensor its atoms."""
        kept = {axis: atoms for axis, atoms in axes.items() if len(atoms) > 1}
        if kept:
            self.found.axes[ref] = kept

    def unify(self, left: Atoms, right: Atoms) -> None:
        """Makes the channels at each place one."""
        if left is right:
            return
        first, second = self._roots(left), self._roots(right)
        for place in np.flatnonzero(first != second):
            a, b = self._root(int(first[place])), self._root(int(second[place]))
            self._parents[max(a, b)] = min(a, b)

    def _root(self, atom: int) -> int:
        parents = self._parents
        while parents[atom] != atom:
            parents[atom] = parents[parents[atom]]
            atom = int(parents[atom])
        return atom

    def _roots(self, atoms: Atoms) -> Atoms:
        roots = self._parents[atoms]
        while True:
            above = self._parents[roots]
            if np.array_equal(above, roots):
                return roots
            roots = above

    def block(self, atoms: Atoms, kind: BlockKind, node: str, reason: str) -> None:
        """Keeps channels, and says why."""
        self._blocks.append((atoms, Block(kind, node, reason)))

    def block_all(self, refs: Iterable[TensorRef], kind: BlockKind, node: str, reason: str) -> None:
        """Keeps all channels of some tensors."""
        for ref in refs:
            for atoms in self.axes(ref).values():
                self.block(atoms, kind, node, reason)

    def opaque(self, node: Node, reason: str = "") -> None:
        """Keeps all channels that ``node`` reads."""
        reason = reason or f"'{node.name}', a {node.op}, needs all of them"
        self.block_all(node.inputs, "opaque", node.name, reason)

    def is_fixed(self, node: Node) -> bool:
        """Whether all that the node reads are weights."""
        return bool(node.inputs) and all(self.is_fixed_tensor(ref) for ref in node.inputs)

    def is_fixed_tensor(self, ref: TensorRef) -> bool:
        """Whether a tensor is made of constants and variables alone."""
        return ref in self.found.fixed or self.graph[ref.node].op == "Const"

    def finish(self) -> Channels:
        """What was found, with all unifications carried out."""
        found = self.found
        everything = np.arange(self._count, dtype=np.int64)
        found.roots = self._roots(everything) if self._count else everything
        for atoms, block in self._blocks:
            for root in np.unique(found.roots[atoms]):
                found.blocks.setdefault(int(root), block)
        return found
