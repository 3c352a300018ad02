"""The body of a forward loop: what its nodes depend on, decided once for each pair of loops.

A value is *free* when it is the same in every iteration: constants, what enters the loop as an
invariant, reads of variables that nobody writes meanwhile, and what is computed from those alone.
The gradient loop computes free values itself; nothing of them is saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import ROOT
from graphrev.analysis.frames_stacks import Stack
from graphrev.analysis.order import topological
from graphrev.ir import Node, TensorRef
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.loops.rereads import Rereads


@dataclass(frozen=True, eq=False)
class Body:
    """One pair of loops with the facts about the forward body.

    Attributes:
        members: the nodes of each frame in topological order.
        contexts: the loop or branch of each node.
        rereads: which variable reads may be repeated.
        gone: stacks that were removed.
        ends: what stands in the gradient loop for the streams that blocks written so far end with.
            Those are there when an iteration starts, so other blocks may read them.
    """

    around: Facts
    pair: GradientLoop
    members: Mapping[int, tuple[str, ...]]
    contexts: Mapping[str, Context]
    rereads: Rereads
    gone: set[str] = field(default_factory=set[str])
    ends: dict[TensorRef, TensorRef] = field(default_factory=dict[TensorRef, TensorRef])

    @property
    def here(self) -> Context:
        """Where the nodes lie: in the body, and in no branch of it."""
        return self.contexts.get(self.pair.index, ())

    @property
    def backward_place(self) -> Context:
        """Where copies of the nodes lie in the gradient loop."""
        return self.contexts.get(self.pair.down, ())

    @property
    def is_whole(self) -> bool:
        """Whether the nodes run in every iteration."""
        return True

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes of the forward frame that lie here, in topological order."""
        found, here = self.members.get(self.pair.forward.number, ()), self.here
        return tuple(name for name in found if self.contexts.get(name, ()) == here)

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """The stacks that the nodes' values are pushed to in every iteration."""
        return tuple(stack for stack in self.pair.stacks if not stack.branched)

    @cached_property
    def free(self) -> frozenset[str]:
        """The nodes whose values are the same in every iteration."""
        free: set[str] = set()
        for name in self.nodes:
            if self._is_free(self.around.graph[name], free):
                free.add(name)
        return frozenset(free)

    @cached_property
    def _invariants(self) -> frozenset[str]:
        return frozenset(self.pair.forward.invariants)

    def _is_free(self, node: Node, free: set[str]) -> bool:
        """Whether a node's value is the same in every iteration, as those of ``free`` are."""
        if node.name in self._invariants:
            return node.op == "Enter"
        if ops.is_constant(node.op):
            return True
        if node.op == "ReadVariableOp":
            return node.inputs[0].node in free and self.rereads.allows(node.name, self.pair)
        return is_pure(node) and all(ref.node in free for ref in node.inputs)

    @cached_property
    def _stacked(self) -> Mapping[TensorRef, Stack]:
        return {stack.value: stack for stack in self.stacks}

    def stack_of(self, ref: TensorRef) -> Stack | None:
        """The stack that a value is pushed to in every iteration."""
        stack = self._stacked.get(ref)
        return None if stack is None or stack.name in self.gone else stack

    def model_for(self, ref: TensorRef) -> Stack | None:
        """A stack that one for a value here can be made like, if there is any."""
        return next(iter(self.stacks), None)

    def pushed(self) -> tuple[TensorRef, ...]:
        """The values that are pushed in every iteration."""
        return tuple(ref for ref, stack in self._stacked.items() if stack.name not in self.gone)


def members_of_frames(around: Facts) -> dict[int, tuple[str, ...]]:
    """The nodes of every loop of the graph, in topological order."""
    found: dict[int, list[str]] = defaultdict(list)
    for name in topological(around.graph):
        number = around.flow.frames.frame(name)
        if number != ROOT:
            found[number].append(name)
    return {number: tuple(names) for number, names in found.items()}


def is_pure(node: Node) -> bool:
    """Whether a copy of the node in another loop computes the same from the same inputs."""
    return (
        bool(node.inputs)
        and not ops.is_stateful(node.op)
        and not ops.is_random(node.op)
        and not ops.is_control_flow_v1(node.op)
        and node.op != "ControlTrigger"
    )
