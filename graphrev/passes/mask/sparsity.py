"""How sparse kernels are, by the numbers: zeros of masks, of checkpoints, of constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphrev.io.tensors import to_numpy
from graphrev.ir import Graph, TensorRef, TensorValue
from graphrev.passes.mask.roles import VIEWS, kernel_positions


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How sparse a kernel is.

    Attributes:
        target: the zeros it is to have in the end; ``None`` where nothing says so.
        group: the kernels it is ranked with.
        is_group: whether it stands for such kernels together.
    """

    kernel: str
    weights: int
    zeros: int
    target: int | None = None
    group: str | None = None
    is_group: bool = False


def missed(rows: Sequence[Sparsity]) -> tuple[Sparsity, ...]:
    """The kernels that have another number of zeros than they were to have."""
    return tuple(row for row in rows if row.target is not None and row.zeros != row.target)


def together(rows: Sequence[Sparsity], group: str, target: int | None) -> Sparsity:
    """The kernels of a group as one."""
    members = [row for row in rows if row.group == group]
    weights, zeros = sum(r.weights for r in members), sum(r.zeros for r in members)
    return Sparsity(f"group {group}", weights, zeros, target, is_group=True)


def total(rows: Sequence[Sparsity]) -> Sparsity:
    """All kernels as one."""
    kernels = [row for row in rows if not row.is_group]
    known = [row.target for row in rows if row.group is None and row.target is not None]
    return Sparsity(
        "total",
        sum(row.weights for row in kernels),
        sum(row.zeros for row in kernels),
        sum(known) if len(known) == sum(row.group is None for row in rows) else None,
    )


def constant_sparsity(graph: Graph) -> tuple[Sparsity, ...]:
    """How sparse the kernels of a frozen graph are; a product of two constants counts as one."""
    found: dict[str, Sparsity] = {}
    for node in graph.nodes.values():
        for place in kernel_positions(node):
            source = _source(graph, node.inputs[place].node)
            if source in found:
                continue
            values = list(_constants(graph, source))
            if not values or values[-1].ndim < _SMALLEST_RANK:
                continue
            product = values[0] if len(values) == 1 else values[0] * values[1]
            zeros = int(product.size - np.count_nonzero(product))
            found[source] = Sparsity(_named(graph, source), int(product.size), zeros)
    return tuple(found.values())


_SMALLEST_RANK = 2


def _source(graph: Graph, name: str) -> str:
    while graph[name].op in VIEWS and graph[name].inputs:
        name = graph[name].inputs[0].node
    return name


def _constants(graph: Graph, name: str) -> Iterator[np.ndarray]:
    """The constant ``name``, or the two it is the product of."""
    node = graph[name]
    parts = node.inputs if node.op == "Mul" else (TensorRef(name),)
    values = [graph[_source(graph, ref.node)].attrs.get("value") for ref in parts]
    floats = [v for v in values if isinstance(v, TensorValue) and v.dtype.is_floating]
    if len(floats) == len(parts) and len({v.shape for v in floats}) == 1:
        yield from map(to_numpy, floats)


def _named(graph: Graph, name: str) -> str:
    """The kernel: of a product the operand that is no mask."""
    node = graph[name]
    if node.op != "Mul":
        return name
    first, second = (_source(graph, ref.node) for ref in node.inputs)
    value = graph[first].attrs.get("value")
    is_mask = isinstance(value, TensorValue) and set(np.unique(to_numpy(value))) <= {0.0, 1.0}
    return second if is_mask else first
