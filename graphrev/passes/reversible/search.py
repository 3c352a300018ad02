"""Finds residual pairs by structure alone.

The argument. In ``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)`` the stream ``x2`` is an operand of the
second sum and the only thing it shares with ``g``'s output is reached through ``y1``. So, for each
way to read a sum ``y2 = p + h``:

1. the nodes between ``p`` and ``h`` are collected (walking back from ``h``, never beyond ``p``);
2. a *cut* is a node that every path from ``p`` to ``h`` passes through: a dominator of ``h``;
3. a cut that is a sum with exactly one operand depending on ``p`` is a candidate for ``y1``, its
   other operand for ``x1``.

Several cuts may qualify (a bias or a side input added inside f or g); the one whose result is also
read elsewhere in the forward pass is the stream, then the latest. Walks are bounded, so the search
is linear in the number of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import networkx as nx

from graphrev.analysis import ops
from graphrev.ir import TensorRef
from graphrev.ir.marks import KERNEL_ATTR
from graphrev.passes.reversible.halves import Half, Pair
from graphrev.passes.reversible.region import BudgetExceededError, Region, region_between
from graphrev.passes.reversible.sums import Reading, is_sum, readings
from graphrev.passes.reversible.surroundings import METADATA_OPS, Surroundings
from graphrev.pipeline import Code, Rejection

_START = ""
"""Stands for the tensor that a region starts from; no node has an empty name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the search says about a set of sums."""

    pairs: tuple[Pair, ...]
    near_misses: tuple[Rejection, ...]


def search(around: Surroundings, sums: Iterable[str], mark: str | None = None) -> Found:
    """Residual pairs whose second sum is among ``sums``, and the near misses among them.

    Args:
        sums: names of sum nodes to consider, forward ones only.
        mark: the mark that the pairs found are to carry.
    """
    pairs: list[Pair] = []
    misses: list[Rejection] = []
    for name in sums:
        candidates: list[Pair] = []
        for reading in readings(around.graph[name]):
            try:
                found = _pairs_ending_in(around, reading, mark)
            except BudgetExceededError:
                misses.append(_too_large(name))
                continue
            candidates.extend(found.pairs)
            misses.extend(found.near_misses)
        if candidates:
            pairs.append(max(candidates, key=lambda pair: _preference(around, pair)))
    used = {half.y.node for pair in pairs for half in pair.halves}
    return Found(tuple(pairs), tuple(m for m in misses if m.nodes[0] not in used))


def _pairs_ending_in(around: Surroundings, reading: Reading, mark: str | None) -> Found:
    p = around.origin(reading.p)
    if _cannot_be_stream(around, p):
        return Found((), ())
    if p == reading.h or around.position(p.node) >= around.position(reading.h.node):
        return Found((), ())
    between = region_between(around, p, reading.h)
    if not between.nodes or between.nodes[-1] != reading.h.node:
        return Found((), ())
    pairs = tuple(
        Pair(
            Half(inner.y, around.origin(inner.p), p, inner.h, inner.recovery),
            Half(reading.y, p, inner.y, reading.h, reading.recovery),
            mark,
        )
        for inner in _inner_sums(around, between)
    )
    missed = not pairs and not _is_bookkeeping(around, reading, p)
    return Found(pairs, (_ordinary(around, reading, p),) if missed else ())


def _is_bookkeeping(around: Surroundings, reading: Reading, p: TensorRef) -> bool:
    """Whether a sum updates a moving average or serves a mask: nobody took it for a block."""
    node = around.graph[p.node]
    reads = node.op == "Identity" and ops.is_variable(around.graph[node.inputs[0].node].op)
    return reads or KERNEL_ATTR in around.graph[reading.y.node].attrs


def _cannot_be_stream(around: Surroundings, tensor: TensorRef) -> bool:
    op = around.graph[tensor.node].op
    return ops.is_constant(op) or ops.is_variable(op) or ops.is_variable_read(op)


def _inner_sums(around: Surroundings, between: Region) -> Iterator[Reading]:
    """Sums that every path through the region passes, read with the operand from outside as p."""
    inside = frozenset(between.nodes)
    for name in _cuts(around, between):
        if not is_sum(around.graph[name]):
            continue
        for reading in readings(around.graph[name]):
            outside = reading.p.node not in inside and reading.p != between.q
            inner = reading.h.node in inside or reading.h == between.q
            outside = outside and not _cannot_be_stream(around, around.origin(reading.p))
            broadcast = around.shapes.same(reading.p, reading.y) is False
            if outside and inner and not broadcast:
                yield reading


def _cuts(around: Surroundings, between: Region) -> Iterator[str]:
    """Nodes of the region that every path from its start to its end passes: its dominators."""
    inside = frozenset(between.nodes)
    paths: nx.DiGraph[str] = nx.DiGraph()
    for name in between.nodes:
        for ref in around.graph[name].inputs:
            if ref == between.q:
                paths.add_edge(_START, name)
            elif ref.node in inside:
                paths.add_edge(ref.node, name)
    dominator = nx.immediate_dominators(paths, _START)
    name = between.nodes[-1]
    while name != _START:
        yield name
        name = dominator[name]


def _preference(around: Surroundings, pair: Pair) -> tuple[bool, int]:
    """Ranks candidates: a sum that others read too is the stream; then the latest."""
    y1 = pair.first.y
    interior = region_between(around, y1, pair.second.h).nodes
    known = {*interior, pair.second.y.node}
    elsewhere = any(
        reader not in known
        and reader not in around.gradient_side
        and around.graph[reader].op not in METADATA_OPS
        for alias in around.aliases(y1)
        for reader in around.graph.readers_of(alias)
        if around.graph[reader].op != "Identity"
    )
    return elsewhere, around.position(y1.node)


def _ordinary(around: Surroundings, reading: Reading, p: TensorRef) -> Rejection:
    reason = (
        f"'{reading.y.node}' adds to '{p}' a value computed from '{p}' itself, not from a second "
        "stream that was updated in between."
    )
    return Rejection(Code.READS_OWN_INPUT, reason, (reading.y.node, p.node))


def _too_large(name: str) -> Rejection:
    reason = f"Too many nodes lie between the operands of '{name}' to search for a pair."
    return Rejection(Code.REGION_TOO_LARGE, reason, (name,))
