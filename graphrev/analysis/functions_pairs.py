"""Which functional node is the gradient of which, and how values travel between their bodies.

The gradient of a functional node is another functional node that reads its outputs
(python/ops/while_v2.py, cond_v2.py, eager/polymorphic_function: TF 2.21). Values of the forward
body reach the gradient body in one of three ways, here called links:

* loops push one value an iteration on a TensorList that starts empty, and the gradient loop pops
  one an iteration: iteration ``k`` of the gradient pops what iteration ``n - 1 - k`` pushed;
* branches return it, mostly wrapped into an optional, for the branch not taken has none;
* called functions just return it.

Nothing is guessed: a list that is read in any other way is no link, and neither is an optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import HOLDER_OP, Body
from graphrev.analysis.functions_calls import BRANCHES, CALLS, LOOPS, functions_in
from graphrev.analysis.identities import origin
from graphrev.analysis.order import descendant_labels
from graphrev.ir import Graph, Node, TensorRef

BODIES = {
    **BRANCHES,
    **dict.fromkeys(LOOPS, ("body",)),
    **dict.fromkeys(CALLS, ("f",)),
}
"""The attributes that list what a functional node runs, but for a loop's condition."""

BATCH = 256
"""Forward nodes whose labels are computed together."""


@dataclass(frozen=True, slots=True)
class Twins:
    """A functional node and one that may be its gradient; ``family`` says of which kind both are.

    ``family`` is ``loop``, ``branch`` or ``call``.
    """

    forward: str
    backward: str
    family: str


@dataclass(frozen=True, slots=True)
class Link:
    """Output ``output`` of the forward function is argument ``argument`` of the gradient's."""

    output: int
    argument: int


def family_of(node: Node) -> str | None:
    """What kind of functional node a node is."""
    if node.op in LOOPS:
        return "loop"
    if node.op in BRANCHES:
        return "branch"
    return "call" if node.op in CALLS else None


def bodies_of(node: Node) -> tuple[str, ...]:
    """The functions a functional node runs, without a loop's condition; branches in order."""
    values = (node.attrs.get(key) for key in BODIES.get(node.op, ()))
    return tuple(name for value in values for name in functions_in(value))


def arguments_of(node: Node) -> tuple[TensorRef, ...]:
    """What a functional node hands to its functions: all inputs but a branch's predicate."""
    return node.inputs[1:] if node.op in BRANCHES else node.inputs


def find_twins(graph: Graph) -> tuple[Twins, ...]:
    """The functional nodes of ``graph`` whose gradients are there, in graph order of these."""
    found: list[Twins] = []
    for name, node in graph.nodes.items():
        family = family_of(node)
        if family is None:
            continue
        sources = {origin(graph, ref).node: None for ref in arguments_of(node)}
        for source in sources:
            if source != name and family_of(graph[source]) == family:
                found.append(Twins(source, name, family))
    branches = [t for t in found if t.family != "branch" or _same_choice(graph, t)]
    unclear = [t for t in branches if t.family == "call" and not _says_so(graph, t)]
    ordinary = set(unclear) - set(_reached_twice(graph, unclear))
    return tuple(t for t in branches if t not in ordinary)


def _same_choice(graph: Graph, twins: Twins) -> bool:
    forward, backward = graph[twins.forward], graph[twins.backward]
    same = origin(graph, forward.inputs[0]) == origin(graph, backward.inputs[0])
    return same and len(bodies_of(forward)) == len(bodies_of(backward))


def _says_so(graph: Graph, twins: Twins) -> bool:
    """Whether the functions of two calls name each other, or the second holds gradient ops."""
    names = bodies_of(graph[twins.forward])[:1], bodies_of(graph[twins.backward])[:1]
    functions = [graph.functions.get(name[0]) if name else None for name in names]
    if functions[0] is None or functions[1] is None:
        return False
    if functions[1].attrs.get("forward_function_name") == names[0][0].encode():
        return True
    return any(ops.is_gradient_op(node.op) for node in functions[1].nodes.values())


def _reached_twice(graph: Graph, twins: Sequence[Twins]) -> Iterator[Twins]:
    """Those whose second node also depends on the first over others, as a gradient on its loss."""
    if not twins:
        return
    firsts = tuple(dict.fromkeys(t.forward for t in twins))
    for start in range(0, len(firsts), BATCH):
        batch = firsts[start : start + BATCH]
        seeds = [[graph.index.ids[name]] for name in batch]
        labels = descendant_labels(graph.index, seeds, control=False)
        for item in twins:
            if item.forward in batch:
                bit = 1 << batch.index(item.forward)
                others = (ref.node for ref in graph[item.backward].inputs)
                if any(n != item.forward and labels[graph.index.ids[n]] & bit for n in others):
                    yield item


@dataclass(frozen=True, eq=False)
class Wires:
    """How one forward body and one gradient body of two functional nodes hang together.

    Attributes:
        level: the graph the two nodes lie in.
        twins: the two nodes.
        forward, backward: the bodies.
        conditions: a loop's two conditions, which read loop variables too.
    """

    level: Graph
    twins: Twins
    forward: Body
    backward: Body
    conditions: tuple[Body, ...] = ()

    @cached_property
    def shared(self) -> Mapping[int, int]:
        """By argument of the gradient the forward argument that is the same tensor."""
        by_source: dict[TensorRef, int] = {}
        first = arguments_of(self.level[self.twins.forward])
        second = arguments_of(self.level[self.twins.backward])
        for place, ref in enumerate(first):
            if self.is_constant(self.forward, place):
                by_source.setdefault(origin(self.level, ref), place)
        found: dict[int, int] = {}
        for place, ref in enumerate(second):
            source = self._before_loop(origin(self.level, ref))
            if source in by_source and self.is_constant(self.backward, place):
                found[place] = by_source[source]
        return found

    def _before_loop(self, ref: TensorRef) -> TensorRef:
        """The tensor itself where ``ref`` is one that the forward loop only hands through."""
        forward = self.level[self.twins.forward]
        if self.twins.family == "loop" and ref.node == forward.name:
            if self.is_constant(self.forward, ref.index):
                return origin(self.level, forward.inputs[ref.index])
        return ref

    def is_constant(self, body: Body, place: int) -> bool:
        """Whether an argument is the same whenever the body runs."""
        if self.twins.family != "loop":
            return True
        argument = TensorRef(body.arguments[place])
        return origin(body.graph, body.returned[place]) == argument

    @cached_property
    def links(self) -> Mapping[Link, TensorRef]:
        """The links, and the tensor of the forward body that each hands on."""
        found: dict[Link, TensorRef] = {}
        for argument, ref in enumerate(arguments_of(self.level[self.twins.backward])):
            source = origin(self.level, ref)
            if source.node != self.twins.forward or argument in self.shared:
                continue
            link = Link(source.index, argument)
            value = self._value(link)
            if value is not None:
                found[link] = value
        return found

    def _value(self, link: Link) -> TensorRef | None:
        if self.twins.family == "loop":
            return pushed(self, link)
        value = self.forward.returned[link.output]
        if self.twins.family == "call":
            return value
        maker = self.forward.graph[value.node]
        if maker.op == "OptionalFromValue" and len(maker.inputs) == 1:
            return maker.inputs[0] if _only_opened(self.backward, link.argument) else None
        unread = not self.backward.graph.readers.get(self.backward.arguments[link.argument])
        if maker.op in ("OptionalNone", "FakeParam"):
            return value if unread else None
        return value if ops.output_dtype(maker, value.index) is not None else None

    @cached_property
    def owned(self) -> frozenset[Link]:
        """Links whose output nobody reads but the one argument."""
        reads: dict[int, int] = {}
        for reader, ref in _readings(self.level, self.twins.forward):
            if self.level[reader].op != HOLDER_OP:
                reads[ref.index] = reads.get(ref.index, 0) + 1
        read = arguments_of(self.level[self.twins.backward])
        return frozenset(
            link
            for link in self.links
            if reads.get(link.output) == 1
            and read[link.argument] == TensorRef(self.twins.forward, link.output)
        )


def popped(body: Body, argument: int) -> str | None:
    """The one node that pops a list argument, if the list is only popped and handed on."""
    name = body.arguments[argument]
    readers = body.graph.readers.get(name, ())
    if len(readers) != 1 or body.graph[readers[0]].op != "TensorListPopBack":
        return None
    pop = readers[0]
    handed_on = [r for r in _reads(body.graph, pop) if r.index == 0]
    returned = body.returned[argument] == TensorRef(pop) and len(handed_on) == 1
    return pop if returned else None


def pushed(wires: Wires, link: Link) -> TensorRef | None:
    """What a forward loop pushes on a list that the gradient loop pops, if that is all to it."""
    body, output = wires.forward, link.output
    start = origin(wires.level, wires.level[wires.twins.forward].inputs[output])
    if wires.level[start.node].op != "EmptyTensorList":
        return None
    push = body.graph[body.returned[output].node]
    name = body.arguments[output]
    if push.op != "TensorListPushBack" or push.inputs[0] != TensorRef(name):
        return None
    alone = len(list(_reads(body.graph, name))) == 1 == len(list(_reads(body.graph, push.name)))
    places = (output, link.argument)
    unread = all(
        place < len(cond.arguments) and not cond.graph.readers.get(cond.arguments[place])
        for cond, place in zip(wires.conditions, places)
    )
    dead = not any(
        ref.index == link.argument and not _is_dead(wires.level, reader)
        for reader, ref in _readings(wires.level, wires.twins.backward)
    )
    fits = alone and unread and dead and popped(wires.backward, link.argument) is not None
    return push.inputs[1] if fits else None


def _only_opened(body: Body, argument: int) -> bool:
    names = body.graph.readers.get(body.arguments[argument], ())
    return all(
        body.graph[name].op == "OptionalGetValue" and ops.output_count(body.graph[name]) == 1
        for name in names
    )


def _reads(graph: Graph, name: str) -> Iterator[TensorRef]:
    return (ref for _, ref in _readings(graph, name))


def _readings(graph: Graph, name: str) -> Iterator[tuple[str, TensorRef]]:
    """Every reading of an output of ``name``: who reads, and which."""
    for reader in graph.readers.get(name, ()):
        for ref in graph[reader].inputs:
            if ref.node == name:
                yield reader, ref


def _is_dead(graph: Graph, name: str) -> bool:
    """Whether a node only renames a tensor nobody reads."""
    node = graph[name]
    unread = not graph.readers.get(name) and not graph.control_readers.get(name)
    return node.op == HOLDER_OP or (node.op == "Identity" and unread)
