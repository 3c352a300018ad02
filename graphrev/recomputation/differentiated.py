"""Whether somebody has differentiated what a pass is about to rewrite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphrev.analysis import ops
from graphrev.analysis.frames_loops import ROOT
from graphrev.analysis.order import descendant_labels
from graphrev.ir import Graph
from graphrev.recomputation.facts import Facts

_BATCH = 256
"""Sets of nodes that are walked at once, a bit each."""


def is_forward_only(graph: Graph) -> bool:
    """Whether neither the graph nor a function of it holds gradient ops or optimizers."""
    bodies = (graph.nodes, *(function.nodes for function in graph.functions.values()))
    return not any(
        ops.is_gradient_op(node.op) or ops.is_optimizer_apply(node.op)
        for nodes in bodies
        for node in nodes.values()
    )


def reached_by_gradients(facts: Facts, parts: Sequence[Iterable[str]]) -> list[bool]:
    """For each set of nodes whether gradient ops or optimizers come after it, by data."""
    ids, graph = facts.index.ids, facts.graph
    made = [
        ids[name]
        for name, node in graph.nodes.items()
        if name in facts.gradient_side or ops.is_optimizer_apply(node.op)
    ]
    if not made:
        return [False] * len(parts)
    hits: list[bool] = []
    for start in range(0, len(parts), _BATCH):
        seeds = [[ids[name] for name in part] for part in parts[start : start + _BATCH]]
        labels = descendant_labels(facts.index, seeds, control=False)
        union = 0
        for number in made:
            union |= labels[number]
        hits.extend(bool(union >> bit & 1) for bit in range(len(seeds)))
    return hits


def undifferentiated_loops(facts: Facts, numbers: Iterable[int]) -> frozenset[int]:
    """Those of some frames that nobody has differentiated, and that nothing is wrong with.

    What a loop hands out leaves the outermost loop around it before anything can come after it.
    """
    frames = facts.flow.frames
    faulty = {frames.frame(name) for fault in facts.flow.faults for name in fault.nodes}
    unfit = faulty | frames.broken | set(facts.flow.gradients)
    whole = [n for n in dict.fromkeys(numbers) if n not in unfit and n in frames.loops]
    hits = reached_by_gradients(facts, [_exits(facts, number) for number in whole])
    return frozenset(number for number, hit in zip(whole, hits) if not hit)


def _exits(facts: Facts, number: int) -> list[str]:
    """What the outermost loop around a frame hands out."""
    loop = facts.flow.frames.loops[number]
    while loop.parent != ROOT:
        loop = facts.flow.frames.loops[loop.parent]
    return [name for variable in loop.variables for name in variable.exits]
