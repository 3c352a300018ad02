"""Which loop is the gradient of which, proven by the counters that tie them together.

The forward loop counts its iterations (``f_count``: from 0, plus 1). The gradient loop starts its
own counter at that number and runs while it is at least 1, minus 1 each time (``b_count``). So
both run equally often, iteration ``k`` of the gradient belongs to iteration ``n - 1 - k`` of the
forward loop, and pops meet their pushes (python/ops/control_flow_ops.py, ``AddForwardLoopCounter``
and ``AddBackpropLoopCounter``). A gradient loop that some other tool built another way has no such
counters; nothing is claimed about it. In a nest the inner count travels over a stack of the outer
pair of loops, so pairs are found from the outside in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphrev.analysis.frames_loops import (
    ENTERS,
    ROOT,
    Fault,
    Frame,
    Frames,
    LoopVariable,
    find_frames,
)
from graphrev.analysis.frames_stacks import POPS, Stack, Stacks, find_stacks
from graphrev.analysis.identities import origin
from graphrev.io.tensors import integers
from graphrev.ir import Graph, TensorRef, TensorValue

_ADDS = frozenset({"Add", "AddV2"})


@dataclass(frozen=True, slots=True)
class GradientLoop:
    """A while loop and its gradient loop.

    Attributes:
        count: the forward loop's counter of iterations.
        countdown: the gradient loop's counter.
        index: the node that counts up; pushes wait for it.
        down: the node that counts down; pops wait for it, it runs in every iteration.
        stacks: what the forward loop saves for the gradient loop.
        outer: the pair of loops around these two, ``None`` outside all loops.
    """

    forward: Frame
    backward: Frame
    count: LoopVariable
    countdown: LoopVariable
    index: str
    down: str
    stacks: tuple[Stack, ...]
    outer: GradientLoop | None


@dataclass(frozen=True, eq=False)
class ControlFlow:
    """Everything known about the v1 loops of a graph."""

    graph: Graph
    frames: Frames
    stacks: Stacks
    gradients: Mapping[int, tuple[GradientLoop, ...]]
    """The gradient loops of each forward frame that has any."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with frames and stacks."""
        return (*self.frames.faults, *self.stacks.faults)


def control_flow(graph: Graph) -> ControlFlow:
    """The frames, stacks and gradient loops of ``graph``, which must be verified."""
    frames = find_frames(graph)
    stacks = find_stacks(graph, frames)
    pairs: dict[tuple[int, int], GradientLoop] = {}
    keys = [key for key in stacks.between if all(number in frames.loops for number in key)]
    unproven: list[Fault] = []
    for forward, backward in sorted(keys, key=lambda key: _depth(frames, key[0])):
        if forward == backward:
            continue
        pair = _pair(graph, frames, stacks, pairs, (forward, backward))
        if isinstance(pair, Fault):
            unproven.append(pair)
        else:
            pairs[forward, backward] = pair
    found: dict[int, tuple[GradientLoop, ...]] = {}
    for (forward, _), pair in pairs.items():
        found[forward] = (*found.get(forward, ()), pair)
    faults = (*stacks.faults, *unproven)
    return ControlFlow(graph, frames, Stacks(stacks.between, faults), found)


def _depth(frames: Frames, number: int) -> int:
    depth = 0
    while number != ROOT:
        number, depth = frames.loops[number].parent, depth + 1
    return depth


def _pair(
    graph: Graph,
    frames: Frames,
    stacks: Stacks,
    pairs: Mapping[tuple[int, int], GradientLoop],
    key: tuple[int, int],
) -> GradientLoop | Fault:
    forward, backward = (frames.loops[number] for number in key)
    outer = pairs.get((forward.parent, backward.parent))
    between = stacks.between[key]
    if outer is None and (forward.parent, backward.parent) != (ROOT, ROOT):
        reason = f"The loops around '{forward.cond}' and '{backward.cond}' are no known pair."
        return Fault(reason, (forward.cond, backward.cond))
    counters = [(v, n) for v in forward.variables if (n := counts_up(graph, v)) is not None]
    down = _countdown(graph, backward)
    if down is not None:
        for variable, index in counters:
            if _source(graph, down[0].enter, outer) in variable.exits:
                ends = (variable, down[0], index, down[1])
                return GradientLoop(forward, backward, *ends, between, outer)
    reason = (
        f"Nothing proves that the loop of '{backward.cond}' runs as often as the loop of "
        f"'{forward.cond}', whose values it pops."
    )
    return Fault(reason, (backward.cond, forward.cond, *(stack.name for stack in between[:4])))


def counts_up(graph: Graph, variable: LoopVariable) -> str | None:
    """The node that adds 1 to a variable that starts at 0, if that is what it is."""
    if constant_integer(graph, graph[variable.enter].inputs[0]) != 0:
        return None
    step = graph[origin(graph, graph[variable.next].inputs[0]).node]
    if step.op in _ADDS and origin(graph, step.inputs[0]) == variable.value:
        if constant_integer(graph, step.inputs[1]) == 1:
            return step.name
    return None


def _countdown(graph: Graph, frame: Frame) -> tuple[LoopVariable, str] | None:
    """The variable that a loop counts down to 0, and the node that does."""
    test = graph[graph[frame.cond].inputs[0].node]
    if test.op != "GreaterEqual" or constant_integer(graph, test.inputs[1]) != 1:
        return None
    for variable in frame.variables:
        step = graph[graph[variable.next].inputs[0].node]
        if test.inputs[0] != TensorRef(variable.merge) or step.op != "Sub":
            continue
        if step.inputs[0] == variable.value and constant_integer(graph, step.inputs[1]) == 1:
            return variable, step.name
    return None


def constant_integer(graph: Graph, ref: TensorRef) -> int | None:
    """The value of an integer constant, through Enters."""
    node = graph[ref.node]
    while node.op in ENTERS:
        node = graph[node.inputs[0].node]
    value = node.attrs.get("value")
    if node.op != "Const" or not isinstance(value, TensorValue) or value.shape.dims != ():
        return None
    found = integers(value, 1)
    return found[0] if found else None


def _source(graph: Graph, enter: str, outer: GradientLoop | None) -> str:
    """Where a counter comes from: an Exit, over a stack of the loops around where there are any."""
    source = graph[enter].inputs[0].node
    if outer is None or graph[source].op not in POPS:
        return source
    pushed = {stack.pop: stack.value.node for stack in outer.stacks if not stack.branched}
    return pushed.get(source, source)
