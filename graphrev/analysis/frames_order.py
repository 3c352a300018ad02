"""Whether a loop would wait for itself.

A back edge leads from a loop's last node to its first, so the order of a graph leaves it out
(:mod:`graphrev.ir.index`), and does not see that an Enter needs what the same loop hands out: on
the way from the one to the other lies a back edge. Here a loop hands out nothing before all that
enters it is there.
"""

from __future__ import annotations

from graphrev.analysis.frames_loops import Frame, Frames
from graphrev.ir import Graph, Node
from graphrev.ir.index import CycleError, GraphIndex


def circle_through_loops(graph: Graph, frames: Frames) -> tuple[str, ...]:
    """Nodes that wait for each other, loops taken as one; none if there are no such.

    Args:
        frames: those of ``graph``.
    """
    nodes = dict(graph.nodes)
    for number, loop in frames.loops.items():
        _close(nodes, f"loop {number}", loop)
    try:
        GraphIndex.of(nodes)
    except CycleError as error:
        return tuple(name for name in error.nodes if name in graph.nodes)
    return ()


def _close(nodes: dict[str, Node], gate: str, loop: Frame) -> None:
    """Lets the Exits of a loop wait for its Enters."""
    while gate in nodes:
        gate += "_"
    enters = (*(variable.enter for variable in loop.variables), *loop.invariants)
    nodes[gate] = Node(gate, "NoOp", control_inputs=enters)
    for variable in loop.variables:
        for name in variable.exits:
            exit_ = nodes[name]
            nodes[name] = exit_.evolve(control_inputs=(*exit_.control_inputs, gate))
