"""Every loop, branch and called function of a graph in a line each, with its size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from graphrev.analysis.frames import control_contexts
from graphrev.analysis.frames_gradients import ControlFlow, control_flow
from graphrev.analysis.functions_summary import Place, functional_places
from graphrev.ir import Graph

__all__ = ["Place", "places"]


def places(graph: Graph) -> tuple[Place, ...]:
    """The loops, branches and functional control flow of ``graph``, which must be verified."""
    return (*_loops(control_flow(graph)), *_branches(graph), *functional_places(graph))


def _loops(flow: ControlFlow) -> Iterator[Place]:
    gradients = {pair.backward.number: pair for pairs in flow.gradients.values() for pair in pairs}
    for number, loop in flow.frames.loops.items():
        detail = f"{len(loop.variables)} variables, {len(loop.invariants)} invariants"
        pair = gradients.get(number)
        kind = "loop" if pair is None else "gradient loop"
        if pair is not None:
            forward = pair.forward.name.decode("utf-8", "replace")
            detail += f", of '{forward}', {len(pair.stacks)} stacks"
        yield Place(kind, loop.name.decode("utf-8", "replace"), loop.size, detail)
    for fault in flow.faults:
        yield Place("fault", fault.nodes[0], len(fault.nodes), fault.reason)


def _branches(graph: Graph) -> Iterator[Place]:
    sizes = Counter(control_contexts(graph).values())
    for context, size in sizes.items():
        kind, _, name = context[-1].partition(" ")
        if kind == "cond":
            yield Place("branch", name, size)
