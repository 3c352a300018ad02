"""The region of a half: the nodes between the stream ``q`` and the operand ``h``.

A node belongs to the region when it depends on ``q`` by data and ``h`` depends on it. What the
region reads from outside is captured and never recomputed: variable reads (the value of the
forward pass stays valid even when the optimizer has already moved the variable), side inputs,
constants, the outputs of random ops, the predicates of branches, and everything that follows from
those alone. Reading only a tensor's *shape* is no dependence on its value, so a dropout mask shaped
like ``q`` is a capture.

The walk goes backwards from ``h`` and stops at everything that stands before ``q`` in the
topological order: such nodes cannot depend on ``q``. A budget bounds it, so that a graph full of
long skips stays linear.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.ir import Node, TensorRef
from graphrev.passes.reversible.surroundings import METADATA_OPS, Surroundings
from graphrev.recomputation.branches import recomputed_inputs

BUDGET = 50_000
"""Nodes a single walk may visit before the search for a region is given up."""


class BudgetExceededError(Exception):
    """A walk visited more than :data:`BUDGET` nodes."""


@dataclass(frozen=True, slots=True)
class Region:
    """Nodes between ``q`` and ``h`` in topological order, and what they read from outside."""

    q: TensorRef
    nodes: tuple[str, ...]
    captures: frozenset[TensorRef]


def region_between(
    around: Surroundings, q: TensorRef, h: TensorRef, *, replayed: frozenset[str] = frozenset()
) -> Region:
    """The region from ``q`` to ``h``; empty when ``h`` does not depend on ``q``.

    Args:
        replayed: random ops that are drawn again instead of captured; they and what follows from
            them belong to the region.

    Raises:
        BudgetExceededError: more than :data:`BUDGET` nodes lie in reach.
    """
    visited = ancestors_after(around, h.node, around.position(q.node), q)
    inside: dict[str, None] = {}
    for name in sorted(visited, key=around.position):
        node = around.graph[name]
        if name in replayed or (not _is_source(node) and _depends(node, q, inside)):
            inside[name] = None
    captures = frozenset(
        ref
        for name in inside
        for ref in around.graph[name].inputs
        if ref != q and (ref.node not in inside or ref not in recomputed_inputs(around.graph[name]))
    )
    return Region(q, tuple(inside), captures)


def ancestors_after(
    around: Surroundings, start: str, floor: int, stop: TensorRef | None
) -> set[str]:
    """``start`` and its data ancestors that stand after place ``floor``, not beyond ``stop``.

    Raises:
        BudgetExceededError: more than :data:`BUDGET` nodes lie in reach.
    """
    if around.position(start) <= floor:
        return set()
    visited, pending = {start}, [start]
    while pending:
        node = around.graph[pending.pop()]
        if _is_source(node):
            continue
        for ref in recomputed_inputs(node):
            if ref == stop or ref.node in visited or around.position(ref.node) <= floor:
                continue
            visited.add(ref.node)
            pending.append(ref.node)
        if len(visited) > BUDGET:
            raise BudgetExceededError(start)
    return visited


def reads_tensor(around: Surroundings, h: TensorRef, tensor: TensorRef, stop: TensorRef) -> bool:
    """Whether ``h`` depends on ``tensor`` on a way that does not lead through ``stop``.

    Raises:
        BudgetExceededError: more than :data:`BUDGET` nodes lie in reach.
    """
    if h in (tensor, stop):
        return h == tensor
    visited = ancestors_after(around, h.node, around.position(tensor.node), stop)
    return any(
        tensor in around.graph[name].inputs
        for name in visited
        if around.graph[name].op not in METADATA_OPS
    )


def _is_source(node: Node) -> bool:
    return node.op in METADATA_OPS or ops.is_random(node.op)


def _depends(node: Node, q: TensorRef, inside: dict[str, None]) -> bool:
    return any(ref == q or ref.node in inside for ref in recomputed_inputs(node))
