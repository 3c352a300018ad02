"""The stacks through which a gradient loop reads the values of its forward loop.

``tf.gradients`` makes a ``StackV2`` outside all loops, hands it into both loops by Enters, pushes
one value an iteration and pops them in reverse (python/ops/control_flow_state.py,
``AddForwardAccumulator``). In a nest of loops there is still one stack: it is entered frame by
frame, and holds the values of all inner iterations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from graphrev.analysis.frames_loops import ENTERS, SWITCHES, Fault, Frames
from graphrev.ir import Graph, TensorRef

STACKS = frozenset({"StackV2"})
PUSHES = frozenset({"StackPushV2"})
POPS = frozenset({"StackPopV2"})
_HANDS_ON = ENTERS | SWITCHES | {"Identity"}


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack with one push and one pop.

    Attributes:
        value: the tensor that is pushed.
        branched: whether the push or the pop runs in a branch of a cond inside its loop, and so
            not in every iteration.
    """

    name: str
    push: str
    pop: str
    value: TensorRef
    branched: bool


@dataclass(frozen=True, slots=True)
class Stacks:
    """The sound stacks by forward and gradient frame, and what is wrong with the others."""

    between: Mapping[tuple[int, int], tuple[Stack, ...]]
    faults: tuple[Fault, ...]


def find_stacks(graph: Graph, frames: Frames) -> Stacks:
    """Every stack of the graph that is pushed and popped once an iteration."""
    found: dict[tuple[int, int], list[Stack]] = defaultdict(list)
    faults: list[Fault] = []
    for name, node in graph.nodes.items():
        if node.op not in STACKS:
            continue
        outcome = _stack(graph, frames, name)
        if isinstance(outcome, Fault):
            faults.append(outcome)
            continue
        found[frames.frame(outcome.push), frames.frame(outcome.pop)].append(outcome)
    return Stacks({key: tuple(stacks) for key, stacks in found.items()}, tuple(faults))


def _stack(graph: Graph, frames: Frames, name: str) -> Stack | Fault:
    pushes, pops, others = _users(graph, name)
    if others:
        return Fault(
            f"Stack '{name}' is used by '{others[0]}' in a way not known.", (name, *others)
        )
    if len(pushes) != 1 or len(pops) != 1:
        reason = f"Stack '{name}' has {len(pushes)} pushes and {len(pops)} pops."
        return Fault(reason, (name, *pushes, *pops))
    push = graph[pushes[0]]
    if len(push.inputs) != 2:
        return Fault(f"'{push.name}' pushes nothing.", (push.name, name))
    inside, outside = _branches(graph, frames, push.name)
    own, _ = _branches(graph, frames, pops[0])
    return Stack(name, push.name, pops[0], push.inputs[1], bool(inside or own - outside))


Branch: TypeAlias = tuple[TensorRef, int]
"""A predicate, and which output of its Switch leads on."""


def _branches(graph: Graph, frames: Frames, end: str) -> tuple[set[Branch], set[Branch]]:
    """The branches that the handle of a push or pop runs through in its own frame and around it.

    A loop inside a branch has a Switch by the branch's predicate in its gradient loop as well; it
    is taken in every iteration, as the loop would not run otherwise.
    """
    found: tuple[set[Branch], set[Branch]] = (set(), set())
    frame, ref = frames.frame(end), graph[end].inputs[0]
    node = graph[ref.node]
    while node.op in _HANDS_ON:
        if node.op in SWITCHES:
            around = frames.frame(node.name) != frame
            found[around].add((_decided_by(graph, node.inputs[1]), ref.index))
        ref = node.inputs[0]
        node = graph[ref.node]
    return found


def _decided_by(graph: Graph, predicate: TensorRef) -> TensorRef:
    """A predicate as it is outside all loops that it is an invariant of."""
    node = graph[predicate.node]
    while (node.op in ENTERS or node.op == "Identity") and node.inputs:
        predicate = node.inputs[0]
        node = graph[predicate.node]
    return predicate


def _users(graph: Graph, name: str) -> tuple[list[str], list[str], list[str]]:
    """Who pushes to, pops from and otherwise uses a stack."""
    pushes: list[str] = []
    pops: list[str] = []
    others: list[str] = []
    pending, seen = [name], {name}
    while pending:
        for reader in graph.readers.get(pending.pop(), ()):
            if reader in seen:
                continue
            seen.add(reader)
            op = graph[reader].op
            if op in PUSHES:
                pushes.append(reader)
            elif op in POPS:
                pops.append(reader)
            elif op in _HANDS_ON:
                pending.append(reader)
            else:
                others.append(reader)
    return pushes, pops, others
