"""Branches of conds inside the body of a loop that is differentiated.

The gradient loop goes the way that the forward iteration went: the predicate travels over a stack
of its own, and the stacks of a branch's values are popped behind a Switch by it
(python/ops/control_flow_state.py, ``AddBackpropAccumulatedValue``). So what is popped is dead where
the branch was not taken, and so is every copy that reads it. A value that enters the branch and
has no stack there is brought over from the body, and sent through a Switch of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import SWITCHES
from graphrev.analysis.frames_stacks import Stack
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node, TensorRef
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.loops.body import Body
from graphrev.recomputation.loops.rereads import Rereads
from graphrev.recomputation.loops.values import UnreachableError, Values, unreachable


@dataclass(frozen=True, eq=False)
class BranchBody(Body):
    """What lies in one branch of the body, not in branches inside it.

    Attributes:
        place: the branch; it does not say which side of the cond.
        parent: what the branch lies in.
    """

    place: Context = ()
    parent: Body | None = field(default=None)

    @property
    def here(self) -> Context:
        """The branch."""
        return self.place

    @property
    def is_whole(self) -> bool:
        """No."""
        return False

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """The stacks that are pushed to in the branch, and popped behind one Switch."""
        return tuple(
            stack
            for stack in self.pair.stacks
            if stack.branched
            and self.contexts.get(stack.push) == self.place
            and self.gate(stack) is not None
        )

    def gate(self, stack: Stack) -> tuple[TensorRef, int] | None:
        """What decides in the gradient loop whether a stack is popped, and the way to the pop."""
        ref = self.around.graph[stack.pop].inputs[0]
        node = self.around.graph[ref.node]
        return (node.inputs[1], ref.index) if node.op in SWITCHES else None

    @property
    def backward_place(self) -> Context:
        """The same branch in the gradient loop."""
        pops = (self.contexts.get(stack.pop, ()) for stack in self.stacks)
        return next(pops, super().backward_place)

    def model_for(self, ref: TensorRef) -> Stack | None:
        """A stack of the same side of the cond."""
        side = self._side(ref.node)
        gates = ((stack, self.gate(stack)) for stack in self.stacks)
        return next((stack for stack, gate in gates if gate and gate[1] == side), None)

    def _side(self, name: str) -> int | None:
        """Which output of the cond's Switches leads to a node of the branch."""
        graph = self.around.graph
        seen, pending = {name}, [name]
        while pending:
            node = graph[pending.pop()]
            for ref in (*node.inputs, *(TensorRef(source) for source in node.control_inputs)):
                if self.contexts.get(ref.node) != self.place or ref.node in seen:
                    continue
                source = graph[ref.node]
                if source.op in SWITCHES and self.contexts.get(source.inputs[0].node) != self.place:
                    return ref.index
                seen.add(ref.node)
                pending.append(ref.node)
        return None

    @cached_property
    def free(self) -> frozenset[str]:
        """The nodes of the branch and around it whose values are the same in every iteration."""
        free = set(() if self.parent is None else self.parent.free)
        for name in self.nodes:
            if self._is_free(self.around.graph[name], free):
                free.add(name)
        return frozenset(free)

    def _is_free(self, node: Node, free: set[str]) -> bool:
        if node.op in SWITCHES:
            return node.inputs[0].node in free
        return super()._is_free(node, free)


class BranchValues(Values):
    """Values of a branch as the gradient loop sees them.

    Args:
        parent: the same for what the branch lies in.
    """

    def __init__(
        self,
        body: BranchBody,
        parent: Values,
        outer: Values | None,
        scope: str,
        attrs: Mapping[str, AttrValue],
        editor: GraphEditor,
    ) -> None:
        super().__init__(body, outer, scope, attrs, editor)
        self._branch = body
        self._parent = parent

    def _over_stack(self, ref: TensorRef) -> TensorRef:
        node = self._body.around.graph[ref.node]
        if self._body.stack_of(ref) is not None or node.op not in SWITCHES:
            return super()._over_stack(ref)
        gates = (self._branch.gate(stack) for stack in self._branch.stacks)
        gate = next((gate for gate in gates if gate is not None), None)
        dtype = ops.output_dtype(node, ref.index)
        if gate is None or dtype is None:
            raise UnreachableError(unreachable(ref, self._body.pair))
        before = len(self._parent.saved)
        value = self._parent.bring(node.inputs[0])
        self.saved.extend(self._parent.saved[before:])
        return self._switched(value, gate[0], ref.index, dtype.base, ref.node)

    def in_place_of(self, stack: Stack) -> TensorRef:
        """A free value as the pop handed it on: dead where the branch was not taken."""
        value, gate = self.bring(stack.value), self._branch.gate(stack)
        dtype = ops.output_dtype(self._body.around.graph[stack.value.node], stack.value.index)
        if gate is None or dtype is None:
            raise UnreachableError(unreachable(stack.value, self._body.pair))
        return self._switched(value, gate[0], gate[1], dtype.base, stack.value.node)

    def _switched(
        self, value: TensorRef, predicate: TensorRef, side: int, dtype: AttrValue, name: str
    ) -> TensorRef:
        switch = Node(
            name=self._editor.unique_name(f"{self._scope}/{name}/Switch"),
            op="Switch",
            inputs=(value, predicate),
            attrs=MappingProxyType({"T": dtype, **self._attrs}),
        )
        return TensorRef(self._editor.add(switch), side)


@dataclass(frozen=True, eq=False)
class LoopBodies:
    """The bodies of a graph's loops, and the branches in them.

    Attributes:
        members: the nodes of each frame in topological order.
        contexts: the loop or branch of each node.
    """

    facts: Facts
    members: Mapping[int, tuple[str, ...]]
    contexts: Mapping[str, Context]
    editor: GraphEditor
    known: dict[tuple[int, int, Context | None], Body] = field(
        default_factory=dict[tuple[int, int, Context | None], Body]
    )

    @cached_property
    def _rereads(self) -> Rereads:
        return Rereads(self.facts, self.facts.flow, self.contexts)

    def branch_of(self, pair: GradientLoop, name: str) -> Context | None:
        """The branch of the loop's body that a node lies in; ``None`` for the body itself."""
        place = self.contexts.get(name, ())
        return None if place == self.contexts.get(pair.index, ()) else place

    def body(self, pair: GradientLoop, place: Context | None = None) -> Body:
        """The body of a loop, or a branch in it."""
        key = (pair.forward.number, pair.backward.number, place)
        if key not in self.known:
            about = (self.facts, pair, self.members, self.contexts, self._rereads)
            if place is None:
                self.known[key] = Body(*about)
            else:
                parent = self.body(pair, self._around(pair, place))
                self.known[key] = BranchBody(*about, place=place, parent=parent)
        return self.known[key]

    def values(
        self,
        pair: GradientLoop,
        scope: str,
        attrs: Mapping[str, AttrValue],
        place: Context | None = None,
    ) -> Values:
        """Values of a body as the gradient loop sees them."""
        body = self.body(pair, place)
        outer = None if pair.outer is None else self.values(pair.outer, scope, attrs)
        if place is None or not isinstance(body, BranchBody):
            return Values(body, outer, scope, attrs, self.editor)
        parent = self.values(pair, scope, attrs, self._around(pair, place))
        return BranchValues(body, parent, outer, scope, attrs, self.editor)

    def _around(self, pair: GradientLoop, place: Context) -> Context | None:
        around = place[:-1]
        return None if around == self.contexts.get(pair.index, ()) else around
