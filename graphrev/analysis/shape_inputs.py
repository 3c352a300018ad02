"""What a shape rule may look at: its node's input shapes and the integers it knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphrev.analysis.dims import Dim, Dims
from graphrev.ir import Graph, Node, Shape, TensorRef


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Shapes and small integer values found so far.

    ``unstable`` are the loop variables (by their Merge) whose shape changes from one iteration to
    the next.
    """

    graph: Graph
    found: Mapping[str, tuple[Dims, ...]]
    values: Mapping[TensorRef, tuple[Dim, ...]]
    unstable: frozenset[str] = frozenset()

    def dims(self, node: Node, position: int = 0) -> Dims:
        """The shape of input ``position``; ``None`` when unknown or absent."""
        if position >= len(node.inputs) or position < -len(node.inputs):
            return None
        ref = node.inputs[position]
        shapes = self.found.get(ref.node, ())
        return shapes[ref.index] if ref.index < len(shapes) else None

    def value(self, node: Node, position: int) -> tuple[Dim, ...] | None:
        """The elements of an integer input, unknown ones as symbols; ``None`` when unknown."""
        if position >= len(node.inputs) or position < -len(node.inputs):
            return None
        return self.values.get(node.inputs[position])

    def numbers(self, node: Node, position: int) -> tuple[int, ...] | None:
        """The elements of an integer input where all of them are known."""
        value = self.value(node, position)
        if value is None:
            return None
        known = tuple(item for item in value if isinstance(item, int))
        return known if len(known) == len(value) else None

    def axis(self, node: Node, position: int, rank: int) -> int | None:
        """The axis below ``rank`` that an integer input names, where it is known."""
        given = self.numbers(node, position)
        return given[0] % rank if given and rank else None

    def variable(self, node: Node) -> Dims:
        """The static shape of the resource variable that input 0 is the handle of."""
        if not node.inputs:
            return None
        source = self.graph[node.inputs[0].node]
        while source.op in ("Identity", "Enter", "Switch") and source.inputs:
            source = self.graph[source.inputs[0].node]
        return declared(source)


DIMS_ATTR = "_graphrev_dims"
"""On what stands for an argument: its dimensions, where unknown ones are equal by their names."""


def as_attr(dims: Dims) -> tuple[int | bytes, ...] | None:
    """Dimensions as :data:`DIMS_ATTR` keeps them."""
    if dims is None:
        return None
    return tuple(dim if isinstance(dim, int) else _name_of(dim) for dim in dims)


def _name_of(dim: tuple[object, ...]) -> bytes:
    last = dim[-1]
    return last if dim[0] == DIMS_ATTR and isinstance(last, bytes) else repr(dim).encode()


def declared(node: Node, key: str = "shape") -> Dims:
    """The shape a node declares in an attribute, unknown dimensions as symbols of the node."""
    shape = node.attrs.get(key)
    dims = node.attrs.get(DIMS_ATTR)
    if isinstance(dims, tuple):
        return tuple(item if isinstance(item, int) else (str(DIMS_ATTR), item) for item in dims)
    return named(node.name, 0, shape.dims) if isinstance(shape, Shape) else None


def named(name: str, index: int, dims: tuple[int | None, ...] | None) -> Dims:
    """The shape of output ``index`` with a symbol for every dimension nobody knows."""
    if dims is None:
        return None
    return tuple(
        ("dim", name, index, axis) if dim is None or dim < 0 else dim
        for axis, dim in enumerate(dims)
    )


def integer(node: Node, key: str, default: int = 0) -> int:
    """An integer attribute."""
    value = node.attrs.get(key, default)
    return value if isinstance(value, int) else default


def integers(node: Node, key: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """A list(int) attribute."""
    value = node.attrs.get(key, default)
    if not isinstance(value, tuple):
        return default
    return tuple(item for item in value if isinstance(item, int))
