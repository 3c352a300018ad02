"""One graph of a forward body and its gradient body, as if both had been built in one place.

The passes know how to rewrite a graph that holds its gradients. So the two bodies are joined: where
the gradient body reads a link (a value popped from a TensorList, taken out of an optional, or
returned), it reads the forward value itself. Between them stands the *turn*, which reads what the
forward body returns and hands in the gradients; so everything in the gradient body comes after the
forward body, as it does where a loss lies between.

For a loop whose variables are the streams of reversible blocks there are *carriers*: readers, in
the gradient body, of the loop variables as the iteration found them. A pass that rebuilds these
re-points the carriers, and the gradient loop can carry them from iteration to iteration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from graphrev.analysis.functions_bodies import HOLDER_OP, RESULTS_OP, Body
from graphrev.analysis.functions_pairs import Link, Wires, popped
from graphrev.editor import rename_nodes
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR

INCOMING_OP = "GraphrevIncomingGrad"
"""The op of what stands for an argument that no link and no shared tensor explains."""
CARRIER_OP = "GraphrevCarrierGrad"


@dataclass(frozen=True, eq=False)
class Combined:
    """A forward body and its gradient body in one graph.

    Attributes:
        wires: how they hang together.
        graph: both.
        cut: the links that go through the joined graph and could be dropped.
        forward: the nodes of the forward body, placeholders too.
        names: the names of the gradient body's nodes in ``graph`` (all but those cut out).
        turn: what stands between the two.
        sink: what reads the results of the gradient body.
        links: the links that go through the joined graph, in the order of the holder's inputs.
        holder: what follows their values; a value that is gone has become its last input.
        carriers: by loop variable the reader of it in the gradient body.
    """

    wires: Wires
    graph: Graph
    cut: frozenset[Link]
    forward: frozenset[str]
    names: Mapping[str, str]
    turn: str
    sink: str
    links: tuple[Link, ...]
    holder: str
    carriers: Mapping[int, str]

    @property
    def backward(self) -> frozenset[str]:
        """The nodes of the gradient body, and what stands for its arguments."""
        return frozenset(self.names.values())


def combine(wires: Wires, cut: frozenset[Link]) -> Combined:
    """Joins the bodies; the links in ``cut`` are to be owned by their gradient."""
    return _Joiner(wires, cut).join()


class _Joiner:
    def __init__(self, wires: Wires, cut: frozenset[Link]) -> None:
        self._wires = wires
        self._cut = cut
        self._nodes: dict[str, Node] = {}
        self._loop = wires.twins.family == "loop"
        self._direct = {
            link: value for link, value in wires.links.items() if link in cut or not self._loop
        }

    def join(self) -> Combined:
        wires = self._wires
        turn = self._add_forward()
        forward = frozenset(self._nodes) - {turn}
        names = self._names()
        values = self._values(names)
        incoming = self._add_incoming(names, turn, values)
        body = wires.backward
        kept = {
            name: node
            for name, node in body.graph.nodes.items()
            if name in names and name not in body.arguments and name != body.results
        }
        moved = rename_nodes(kept, names)
        for old, node in zip(kept, moved.values()):
            inputs = tuple(self._moved(ref, names, values) for ref in kept[old].inputs)
            waits = tuple(names[source] for source in kept[old].control_inputs if source in names)
            self._nodes[node.name] = node.evolve(inputs=inputs, control_inputs=waits)
        sink = self._add_sink(names, values)
        carriers = self._add_carriers(incoming)
        graph = replace(wires.level, nodes=MappingProxyType(self._nodes))
        held = [link for link, value in self._direct.items() if value.node in graph.nodes]
        values_held = (*(self._direct[link] for link in held), TensorRef(turn))
        holder = self._reader("holder", values_held, (), HOLDER_OP)
        own = {old: new for old, new in names.items() if new in graph.nodes and old != body.results}
        return Combined(
            wires, graph, self._cut, forward, own, turn, sink, tuple(held), holder, carriers
        )

    def _add_forward(self) -> str:
        body, outputs = self._wires.forward, {link.output for link in self._cut}
        gone = {body.results}
        for output in outputs:
            gone.update(_carries_out(body, output, loop=self._loop))
        self._nodes.update((n, node) for n, node in body.graph.nodes.items() if n not in gone)
        left = tuple(ref for place, ref in enumerate(body.returned) if place not in outputs)
        return self._reader("turn", left, body.graph[body.results].control_inputs)

    def _names(self) -> dict[str, str]:
        """New names for the gradient body; it keeps its own where they are free."""
        own = self._wires.backward.graph.nodes
        taken = set(self._nodes)
        names: dict[str, str] = {}
        for name in own:
            new, number = name, 0
            while new in taken or (number and new in own):
                number += 1
                new = f"{name}_{number}"
            taken.add(new)
            names[name] = new
        return names

    def _values(self, names: dict[str, str]) -> dict[TensorRef, TensorRef]:
        """What the gradient body reads instead; nodes that are cut out lose their names."""
        wires, body = self._wires, self._wires.backward
        values: dict[TensorRef, TensorRef] = {}
        for argument, place in wires.shared.items():
            name = body.arguments[argument]
            values[TensorRef(name)] = TensorRef(wires.forward.arguments[place])
            del names[name]
        for link, value in self._direct.items():
            name = body.arguments[link.argument]
            for opener in _openers(wires, link, value):
                values[TensorRef(opener, 1 if self._loop else 0)] = value
                del names[opener]
            values[TensorRef(name)] = value
            del names[name]
        return values

    def _moved(
        self, ref: TensorRef, names: Mapping[str, str], values: Mapping[TensorRef, TensorRef]
    ) -> TensorRef:
        if ref in values:
            return values[ref]
        return TensorRef(names[ref.node], ref.index)

    def _add_incoming(
        self, names: Mapping[str, str], turn: str, values: Mapping[TensorRef, TensorRef]
    ) -> list[str]:
        body, found = self._wires.backward, list[str]()
        for name in body.arguments:
            if TensorRef(name) in values:
                continue
            attrs = body.graph[name].attrs
            node = Node(names[name], INCOMING_OP, (TensorRef(turn),), attrs=attrs)
            self._nodes[node.name] = node
            dtype = attrs["dtype"]
            if isinstance(dtype, DType) and dtype.is_floating:
                found.append(node.name)
        return found

    def _add_sink(self, names: Mapping[str, str], values: Mapping[TensorRef, TensorRef]) -> str:
        body = self._wires.backward
        lists = {link.argument for link in self._cut} if self._loop else set[int]()
        left = tuple(
            self._moved(ref, names, values)
            for place, ref in enumerate(body.returned)
            if place not in lists
        )
        waits = tuple(names[name] for name in body.graph[body.results].control_inputs)
        return self._reader("sink", left, waits)

    def _reader(
        self,
        wanted: str,
        inputs: tuple[TensorRef, ...],
        waits: tuple[str, ...],
        op: str = RESULTS_OP,
    ) -> str:
        own = self._wires.backward.graph.nodes
        name, number = f"graphrev_{wanted}", 0
        while name in self._nodes or name in own:
            number += 1
            name = f"graphrev_{wanted}_{number}"
        attrs = MappingProxyType({BLOCK_ATTR: b""})
        self._nodes[name] = Node(name, op, inputs, waits, attrs=attrs)
        return name

    def _add_carriers(self, incoming: list[str]) -> dict[int, str]:
        """A reader of each floating-point variable of a loop; it comes after all gradients."""
        body, found = self._wires.forward, dict[int, str]()
        lists = {link.output for link in self._cut}
        after = tuple(TensorRef(name) for name in incoming)
        for place, name in enumerate(body.arguments if self._loop and after else ()):
            dtype = body.graph[name].attr("dtype")
            if place in lists or self._wires.is_constant(body, place):
                continue
            if isinstance(dtype, DType) and dtype.is_floating:
                inputs = (TensorRef(name), *after)
                reader = self._reader(f"carrier_{place}", inputs, (), CARRIER_OP)
                self._nodes[reader] = replace(self._nodes[reader], attrs=MappingProxyType({}))
                found[place] = reader
        return found


def _carries_out(body: Body, output: int, *, loop: bool) -> Iterator[str]:
    """The nodes that do nothing but hand a link's value out of the forward body."""
    maker = body.graph[body.returned[output].node]
    if loop:
        yield body.arguments[output]
        yield maker.name
    elif maker.op in ("OptionalFromValue", "OptionalNone", "FakeParam"):
        if (
            len(body.graph.readers[maker.name]) == 1
            and body.returned.count(TensorRef(maker.name)) == 1
        ):
            yield maker.name


def _openers(wires: Wires, link: Link, value: TensorRef) -> Iterator[str]:
    """The nodes of the gradient body that take a link's value out of what carries it."""
    body = wires.backward
    if wires.twins.family == "loop":
        pop = popped(body, link.argument)
        assert pop is not None
        yield pop
    elif wires.forward.returned[link.output] != value:
        yield from body.graph.readers.get(body.arguments[link.argument], ())
