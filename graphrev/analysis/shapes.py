"""Static shapes of every tensor, inferred from placeholders, constants and variables.

One sweep in topological order, and another where a loop's variable turns out to change its
shape. Rules live in :mod:`graphrev.analysis.shape_rules` (shapes) and
:mod:`graphrev.analysis.shape_values` (small integer tensors that hold shapes, followed as far as
they are known). What no rule knows falls back on the ``_output_shapes`` attribute, then on
"unknown". Shapes do not cross function calls.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from graphrev.analysis import dims as sizes
from graphrev.analysis.dims import Dim, Dims
from graphrev.analysis.ops import output_count, output_dtype
from graphrev.analysis.order import topological
from graphrev.analysis.shape_rules import LOOP_OPS, MOST_PIECES, Inputs, output_shapes
from graphrev.analysis.shape_values import Value, output_value
from graphrev.ir import DType, Graph, Node, Shape, TensorRef


@dataclass(frozen=True, eq=False)
class Shapes:
    """Inferred shapes of a graph's tensors."""

    graph: Graph
    found: Mapping[str, tuple[Dims, ...]]
    values: Mapping[TensorRef, Value] = field(default_factory=dict[TensorRef, Value])

    def dims(self, ref: TensorRef) -> Dims:
        """The tensor's dimensions, unknown ones as symbols; ``None`` for unknown rank."""
        shapes = self.found.get(ref.node, ())
        return shapes[ref.index] if ref.index < len(shapes) else None

    def of(self, ref: TensorRef) -> Shape:
        """The tensor's shape, unknown dimensions as ``None``."""
        dims = self.dims(ref)
        if dims is None:
            return Shape(None)
        return Shape(tuple(dim if isinstance(dim, int) else None for dim in dims))

    def same(self, left: TensorRef, right: TensorRef) -> bool | None:
        """Whether two tensors have the same shape; ``None`` where that cannot be known."""
        return sizes.same(self.dims(left), self.dims(right))

    def dtype(self, ref: TensorRef) -> DType | None:
        """The tensor's element type without reference, where the op is known."""
        dtype = output_dtype(self.graph[ref.node], ref.index)
        return None if dtype is None else dtype.base

    def bytes(self, ref: TensorRef) -> int | None:
        """Bytes the tensor takes; ``None`` where they depend on something unknown."""
        dims = self.dims(ref)
        if dims is None:
            return None
        dtype = self.dtype(ref)
        return sizes.number_of_bytes(dims, dtype.byte_size if dtype else None)


def infer_shapes(
    graph: Graph,
    feeds: Mapping[str, Shape] | None = None,
    skip: Container[str] = frozenset(),
) -> Shapes:
    """Infers the shape of every tensor.

    Args:
        graph: a verified graph.
        feeds: shapes of what will be fed, by node name (output 0).
        skip: nodes whose shapes are not wanted; they stay unknown.
    """
    unstable: frozenset[str] = frozenset()
    while True:
        shapes = _sweep(graph, feeds or {}, unstable, skip)
        changing = _changing(shapes) - unstable
        if not changing:
            return shapes
        unstable |= changing


def _changing(shapes: Shapes) -> frozenset[str]:
    """Loop variables that leave an iteration with another shape than they entered with.

    Each sweep finds at least one more or is the last; a shape that depends on an unstable one is
    unknown, so two or three sweeps settle any loop.
    """
    found: set[str] = set()
    for name, node in shapes.graph.nodes.items():
        if node.op not in ("Merge", "RefMerge") or len(node.inputs) != 2:
            continue
        back = node.inputs[1]
        entered = shapes.dims(TensorRef(name))
        if shapes.graph[back.node].op in LOOP_OPS and entered is not None:
            if sizes.same(entered, shapes.dims(back)) is not True:
                found.add(name)
    return frozenset(found)


def _sweep(
    graph: Graph, fed: Mapping[str, Shape], unstable: frozenset[str], skip: Container[str]
) -> Shapes:
    found: dict[str, tuple[Dims, ...]] = {}
    values: dict[TensorRef, Value] = {}
    known = Inputs(graph, found, values, unstable)
    for name in topological(graph):
        if name in skip:
            continue
        node = graph[name]
        if name in fed:
            others = (output_shapes(known, node) or ())[1:]
            found[name] = (_named(name, 0, fed[name].dims), *others)
            continue
        shapes = output_shapes(known, node)
        if shapes is None or any(dims is None for dims in shapes):
            shapes = _stored(node, shapes)
        found[name] = tuple(_small(name, i, "dim", dims) for i, dims in enumerate(shapes))
        value = output_value(known, node)
        for i, v in enumerate(value or ()):
            small = _small(name, i, "value", v)
            if small is not None:
                values[TensorRef(name, i)] = small
    return Shapes(graph, found, values)


def _small(name: str, index: int, kind: str, dims: Dims) -> Dims:
    """Dimensions, those that grew too large under new names of their own."""
    if dims is None or not any(map(sizes.too_large, dims)):
        return dims
    return tuple(
        (kind, name, index, axis) if sizes.too_large(dim) else dim for axis, dim in enumerate(dims)
    )


def _stored(node: Node, shapes: tuple[Dims, ...] | None) -> tuple[Dims, ...]:
    """Fills gaps from ``_output_shapes``, which older graphs and SavedModels carry."""
    stored = node.attrs.get("_output_shapes")
    if not isinstance(stored, tuple):
        count = min(output_count(node) or 0, MOST_PIECES)
        return shapes if shapes is not None else (None,) * count
    kept = [s.dims if isinstance(s, Shape) else None for s in stored]
    count = len(shapes) if shapes is not None else len(kept)
    known = shapes if shapes is not None else (None,) * count
    return tuple(
        dims if dims is not None or i >= len(kept) else _named(node.name, i, kept[i])
        for i, dims in enumerate(known)
    )


def _named(name: str, index: int, dims: tuple[int | None, ...] | None) -> Dims:
    """A stored shape with a symbol for every dimension nobody knows."""
    if dims is None:
        return None
    return tuple(_dim(name, index, axis, dim) for axis, dim in enumerate(dims))


def _dim(name: str, index: int, axis: int, dim: int | None) -> Dim:
    return ("dim", name, index, axis) if dim is None or dim < 0 else dim
