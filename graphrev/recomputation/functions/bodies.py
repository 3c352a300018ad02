"""Writes the functions of one forward body and its gradient body after both were rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import BodyError, function_of
from graphrev.analysis.functions_counters import Counters
from graphrev.analysis.functions_pairs import Link
from graphrev.analysis.identities import origin
from graphrev.editor import rename_nodes
from graphrev.io.constants import splat
from graphrev.ir import Argument, AttrValue, DType, Function, Node, Shape, TensorRef
from graphrev.ir.deferred import CLONE_ATTR
from graphrev.recomputation.facts import METADATA_OPS
from graphrev.recomputation.functions.anchors import Anchoring
from graphrev.recomputation.functions.splitting import Demand

_OPTIONAL_TYPE = "Toutput_types"


@dataclass(frozen=True, slots=True)
class Slot:
    """A new link: a tensor of one branch (0 where there are none), by its type and shape."""

    branch: int
    value: TensorRef
    dtype: DType
    carried: int | None = None
    """The loop variable that is saved now and then, where the slot is an anchor of one."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The new signature, the same for all branches.

    Attributes:
        outputs: which outputs of the forward function stay, in order.
        arguments: which arguments of the gradient function stay, in order.
        outer: forward arguments that the gradient function gets as well.
        hoisted: how many reads of variables it gets.
        carried: loop variables it carries.
        slots: the new links.
        anchors: how often anchors save a carried variable, and the counters that say when.
    """

    outputs: tuple[int, ...]
    arguments: tuple[int, ...]
    outer: tuple[int, ...]
    hoisted: tuple[str, ...]
    carried: tuple[int, ...]
    slots: tuple[Slot, ...]
    anchors: tuple[int, Counters] | None = None


class Bodies:
    """Writes the two functions of one pair of bodies.

    Args:
        demand: what the gradient body needs.
        layout: the new signature.
        branch: which branch this is.
    """

    def __init__(self, demand: Demand, layout: Layout, branch: int = 0) -> None:
        self._demand = demand
        self._layout = layout
        self._branch = branch
        sides = demand.sides
        self._graph = sides.graph
        self._combined = sides.combined
        self._wires = sides.combined.wires
        self._loop = self._wires.twins.family == "loop"
        functions = (self._wires.forward.function, self._wires.backward.function)
        results = (item.name for function in functions for item in function.outputs)
        self._taken = {*sides.graph.nodes, *results}
        self._supplies: dict[TensorRef, TensorRef] = {}
        self._nodes: dict[str, Node] = {}
        self._opened: dict[int, str] = {}

    def forward(self, name: str) -> Function:
        """The forward function."""
        body = self._wires.forward
        nodes = {
            key: node
            for key, node in self._graph.nodes.items()
            if key in self._demand.sides.before
            and key not in body.arguments
            and key != self._combined.turn
        }
        arguments = list(body.function.inputs)
        if self._loop:
            arguments = [arguments[place] for place in self._layout.outputs]
        returned = [
            (body.function.outputs[place], self._returned(place, nodes))
            for place in self._layout.outputs
        ]
        for slot in self._layout.slots:
            free = self._free("graphrev_saved")
            value = self._saving(slot, free, nodes)
            if self._loop:
                arguments.append(Argument(f"{free}_list", DType.VARIANT))
            dtype = slot.dtype if self._plain else DType.VARIANT
            returned.append((Argument(free, dtype), value))
        return function_of(body.function, name, arguments, nodes, returned, self._graph)

    @property
    def _plain(self) -> bool:
        """Whether new links are plain return values."""
        return self._wires.twins.family == "call"

    def _returned(self, output: int, nodes: dict[str, Node]) -> TensorRef:
        """What the forward body returns there; what handed a link out and was cut out is back."""
        sides = self._demand.sides
        if output in sides.returned:
            return sides.returned[output]
        old = self._wires.forward.returned[output]
        maker = self._wires.forward.graph[old.node]
        value = next((v for link, v in sides.values.items() if link.output == output), None)
        if maker.name in self._graph:
            return old if value is None else self._past(maker, old, value)
        if value is not None:
            maker = maker.evolve(inputs=(*maker.inputs[: int(self._loop)], value))
        elif maker.op == "OptionalFromValue":  # another branch still needs the link, this one not
            maker = Node(maker.name, "OptionalNone")
        nodes[maker.name] = maker
        return old

    def _past(self, maker: Node, old: TensorRef, value: TensorRef) -> TensorRef:
        """The return value itself, where it is no optional that holds the link's value."""
        return old if maker.op == "OptionalFromValue" else value

    def _saving(self, slot: Slot, free: str, nodes: dict[str, Node]) -> TensorRef:
        """What a new link returns in this branch; adds the nodes that make it."""
        if self._plain:
            return slot.value
        attrs: Mapping[str, AttrValue] = MappingProxyType({_OPTIONAL_TYPE: (slot.dtype,)})
        node = Node(f"{free}_value", "OptionalFromValue", (slot.value,), attrs=attrs)
        if self._loop:
            attrs = MappingProxyType({"element_dtype": slot.dtype})
            listed = (TensorRef(f"{free}_list"), self._saved(slot, nodes))
            node = Node(f"{free}_push", "TensorListPushBack", listed, attrs=attrs)
        elif slot.branch != self._branch:
            node = Node(f"{free}_none", "OptionalNone")
        nodes[node.name] = node
        return TensorRef(node.name)

    def _saved(self, slot: Slot, nodes: dict[str, Node]) -> TensorRef:
        """What a loop pushes: the value, or of an anchor what is saved in this iteration."""
        if slot.carried is None or self._layout.anchors is None:
            return slot.value
        every, counters = self._layout.anchors
        count = TensorRef(self._wires.forward.arguments[counters.forward])
        return Anchoring(self._free, nodes).part(slot.value, slot.dtype, count, every)

    def backward(self, name: str) -> Function:
        """The gradient function."""
        body = self._wires.backward
        arguments = [self._old_argument(place) for place in self._layout.arguments]
        returned = self._backward_returns()
        more, handed_on = self._new_arguments()
        self._copy()
        for key in self._demand.nodes:
            node = self._graph[key]
            if node.op != "GraphrevIncomingGrad":
                self._nodes[key] = self._supplied(node)
        returns = [(body.function.outputs[place], self._supply(ref)) for place, ref in returned]
        if self._loop:
            returns += handed_on
        controls = body.function.control_returns.items()
        renamed = {key: self._combined.names.get(node, node) for key, node in controls}
        template = replace(body.function, control_returns=MappingProxyType(renamed))
        return function_of(template, name, [*arguments, *more], self._nodes, returns, self._graph)

    def _backward_returns(self) -> list[tuple[int, TensorRef]]:
        """What stays of the gradient body's results, by place."""
        body, cut = self._wires.backward, {link.argument for link in self._combined.cut}
        now = iter(self._graph[self._combined.sink].inputs)
        found: list[tuple[int, TensorRef]] = []
        for place in range(len(body.returned)):
            if not self._loop or place not in cut:
                found.append((place, next(now)))
            elif place in self._layout.arguments:
                found.append((place, TensorRef(self._opened[place])))
        return found

    def _old_argument(self, place: int) -> Argument:
        """An argument that stays, under a name that is free; what it supplies is noted."""
        body = self._wires.backward
        old, known = body.function.inputs[place], body.arguments[place]
        incoming = self._combined.names.get(known)
        if incoming is not None:
            self._supplies[TensorRef(incoming)] = TensorRef(incoming)
            return replace(old, name=incoming)
        name = self._free(known)
        shared = self._wires.shared.get(place)
        if shared is not None:
            self._supplies.setdefault(
                TensorRef(self._wires.forward.arguments[shared]), TensorRef(name)
            )
            return replace(old, name=name)
        for link, value in self._demand.sides.values.items():
            if link.argument == place:
                self._open(link, name, origin(self._graph, value))
        return replace(old, name=name)

    def _open(self, link: Link, name: str, value: TensorRef) -> None:
        """Takes the value of a link that stays out of the argument again."""
        body = self._wires.backward
        readers = body.graph.readers.get(body.arguments[link.argument], ())
        opens = ("TensorListPopBack", "OptionalGetValue")
        opener = next((body.graph[r] for r in readers if body.graph[r].op in opens), None)
        if opener is None:
            if self._wires.links[link] == self._wires.forward.returned[link.output]:
                self._supplies.setdefault(value, TensorRef(name))
            return
        free = self._free(opener.name)
        inputs = (TensorRef(name), *self._renamed(opener.inputs[1:]))
        self._nodes[free] = opener.evolve(name=free, inputs=inputs, control_inputs=())
        if opener.op == "TensorListPopBack":
            self._opened[link.argument] = free
            self._supplies.setdefault(value, TensorRef(free, 1))
        else:
            self._supplies.setdefault(value, TensorRef(free))

    def _renamed(self, refs: Iterable[TensorRef]) -> Iterator[TensorRef]:
        for ref in refs:
            yield TensorRef(self._combined.names[ref.node], ref.index)

    def _new_arguments(self) -> tuple[list[Argument], list[tuple[Argument, TensorRef]]]:
        """The added arguments, and what a loop hands on to its next iteration for each."""
        found: list[Argument] = []
        handed_on: list[tuple[Argument, TensorRef]] = []
        body, layout = self._wires.forward, self._layout
        for place in layout.outer:
            item = self._argument("graphrev_outer", body.function.inputs[place].dtype)
            self._supplies.setdefault(TensorRef(body.arguments[place]), TensorRef(item.name))
            self._keep(found, handed_on, item)
        for node in layout.hoisted:
            item = self._argument("graphrev_read", ops.output_dtype(self._graph[node], 0))
            self._supplies[TensorRef(node)] = TensorRef(item.name)
            self._keep(found, handed_on, item)
        finals = {place: ref for ref, place in self._demand.finals.items()}
        for place in layout.carried:
            item = self._argument("graphrev_carried", body.function.inputs[place].dtype)
            self._supplies[finals[place]] = TensorRef(item.name)
            found.append(item)
            rebuilt = self._demand.carried[place]
            handed_on.append((self._argument("graphrev_rebuilt", item.dtype), rebuilt))
        for slot in layout.slots:
            item, end = self._take(slot)
            found.append(item)
            if end is not None:
                handed_on.append((self._argument("graphrev_rest", DType.VARIANT), end))
        return found, handed_on

    def _take(self, slot: Slot) -> tuple[Argument, TensorRef | None]:
        """The argument of a new link; the value is taken out of it where it belongs here."""
        item = self._argument("graphrev_saved", slot.dtype if self._plain else DType.VARIANT)
        here = slot.branch == self._branch
        value = origin(self._graph, slot.value) if here else slot.value
        if self._plain:
            self._supplies[value] = TensorRef(item.name)
        elif self._loop:
            pop, shape = self._free(f"{item.name}_pop"), self._free(f"{item.name}_shape")
            self._nodes[shape] = Node(shape, "Const", attrs=any_shape())
            attrs = MappingProxyType({"element_dtype": slot.dtype})
            listed = (TensorRef(item.name), TensorRef(shape))
            self._nodes[pop] = Node(pop, "TensorListPopBack", listed, attrs=attrs)
            if slot.carried is None:
                self._supplies[value] = TensorRef(pop, 1)
            else:
                merge = Anchoring(self._free, self._nodes).merged
                self._supplies[value] = merge(TensorRef(pop, 1), self._supplies[value], slot.dtype)
            return item, TensorRef(pop)
        elif here:
            opener = self._free(f"{item.name}_value")
            types: dict[str, AttrValue] = {
                "output_types": (slot.dtype,),
                "output_shapes": (Shape(None),),
            }
            attrs = MappingProxyType(types)
            node = Node(opener, "OptionalGetValue", (TensorRef(item.name),), attrs=attrs)
            self._nodes[opener] = node
            self._supplies[value] = TensorRef(opener)
        return item, None

    def _keep(
        self,
        found: list[Argument],
        handed_on: list[tuple[Argument, TensorRef]],
        item: Argument,
    ) -> None:
        found.append(item)
        handed_on.append((self._argument("graphrev_same", item.dtype), TensorRef(item.name)))

    def _argument(self, wanted: str, dtype: DType | None) -> Argument:
        return Argument(self._free(wanted), dtype)

    def _copy(self) -> None:
        """Copies of forward nodes that follow from what the gradient body has anyway."""
        order = [name for name in self._graph.nodes if name in self._demand.copied]
        names = {name: self._free(name) for name in order}
        for name in order:
            for index in range(ops.output_count(self._graph[name]) or 0):
                self._supplies[TensorRef(name, index)] = TensorRef(names[name], index)
        for name in order:
            node = self._graph[name]
            inputs = tuple(self._supply(self._demand.likes.get(r, r)) for r in node.inputs)
            attrs = MappingProxyType({**node.attrs, CLONE_ATTR: name.encode()})
            copy = node.evolve(
                name=names[name], inputs=inputs, control_inputs=(), attrs=attrs, extra=b""
            )
            self._nodes[copy.name] = rename_nodes({copy.name: copy}, {})[copy.name]

    def _supplied(self, node: Node) -> Node:
        before = self._demand.sides.before
        inputs = tuple(self._supply(self._like(node, ref)) for ref in node.inputs)
        left_out = {*self._combined.carriers.values(), self._combined.sink}
        waits = tuple(
            name
            for name in node.control_inputs
            if name not in before
            and name not in left_out
            and self._graph[name].op != "GraphrevIncomingGrad"
        )
        if inputs == node.inputs and waits == node.control_inputs:
            return node
        return node.evolve(inputs=inputs, control_inputs=waits)

    def _like(self, node: Node, ref: TensorRef) -> TensorRef:
        """What ``node`` reads in place of ``ref``, if it asks for its shape alone."""
        if node.op not in METADATA_OPS or ref.node not in self._demand.sides.before:
            return ref
        return self._demand.likes.get(origin(self._graph, ref), ref)

    def _supply(self, ref: TensorRef) -> TensorRef:
        if ref.node not in self._demand.sides.before:
            return ref
        source = origin(self._graph, ref)
        if source not in self._supplies:
            raise BodyError(f"'{source}' does not reach the gradient.", source.node)
        return self._supplies[source]

    def _free(self, wanted: str) -> str:
        name, number = wanted, 0
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name


def any_shape() -> Mapping[str, AttrValue]:
    """The attributes of the constant -1, which stands for an element shape nobody knows."""
    return MappingProxyType({"dtype": DType.INT32, "value": splat(DType.INT32, -1)})
