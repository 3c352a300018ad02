"""The pass inside functional control flow and function calls."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.frames_loops import find_frames
from graphrev.analysis.functions_calls import FUNCTIONAL, LOOPS
from graphrev.analysis.functions_pairs import bodies_of
from graphrev.ir import Function, Graph, Node
from graphrev.ir.marks import RECOMPUTE_ATTR, is_opted_out, recompute_regions
from graphrev.recomputation.functions.combining import Combined
from graphrev.recomputation.functions.plan import FunctionsDone, Inner
from graphrev.recomputation.functions.rewriting import rewrite_functions


def in_functions(
    graph: Graph, inner: Inner, frames: str | None, *, copies: bool = False
) -> FunctionsDone:
    """What the pass does in the library of ``graph``.

    Args:
        inner: plans and rewrites a body.
        frames: finds the names of functional loops whose whole bodies are regions.
        copies: functions stay as they are; see :func:`rewrite_functions`.
    """
    named = _named_bodies(graph, frames)
    return rewrite_functions(
        graph,
        inner,
        lambda function: function.name in named or has_marks(function),
        _marker(frames),
        copies=copies,
    )


def names_functional_loops_alone(graph: Graph, frames: str) -> bool:
    """Whether the expression is found in names of functional loops, and of no v1 frame."""
    loops = find_frames(graph).loops.values()
    v1 = any(re.search(frames, loop.name.decode("utf-8", "replace")) for loop in loops)
    return not v1 and bool(_named_bodies(graph, frames))


def has_marks(function: Function) -> bool:
    """Whether a function holds marked regions."""
    return any(recompute_regions(node) for node in function.nodes.values())


def _named_bodies(graph: Graph, frames: str | None) -> frozenset[str]:
    """The bodies of the functional loops that ``frames`` is found in the names of."""
    if frames is None:
        return frozenset()
    bodies = (graph.nodes, *(function.nodes for function in graph.functions.values()))
    return frozenset(
        name
        for nodes in bodies
        for node in nodes.values()
        if node.op in LOOPS and re.search(frames, node.name)
        for name in bodies_of(node)
    )


def _marker(frames: str | None) -> Callable[[Combined], Graph]:
    """Marks the whole forward body of a loop that ``frames`` names as one region."""

    def mark(combined: Combined) -> Graph:
        twins, graph = combined.wires.twins, combined.graph
        if frames is None or twins.family != "loop" or not re.search(frames, twins.forward):
            return graph
        region = MappingProxyType({RECOMPUTE_ATTR: (twins.forward.encode(),)})
        nodes = {
            name: node.evolve(attrs=MappingProxyType({**node.attrs, **region}))
            if name in combined.forward and _may_repeat(node)
            else node
            for name, node in graph.nodes.items()
        }
        return replace(graph, nodes=MappingProxyType(nodes))

    return mark


def _may_repeat(node: Node) -> bool:
    """Whether an op may run again: it has no state, is no part of a list, and is wanted."""
    if ops.is_stateful(node.op) or ops.is_random(node.op) or ops.is_constant(node.op):
        return False
    unfit = node.op in FUNCTIONAL or ops.is_placeholder(node.op) or is_opted_out(node)
    return not unfit and not node.op.startswith("TensorList")
