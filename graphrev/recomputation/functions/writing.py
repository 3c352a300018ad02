"""Carries out what was decided for a functional node and its gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import HOLDER_OP
from graphrev.analysis.functions_calls import BRANCHES
from graphrev.analysis.functions_counters import find_counters
from graphrev.analysis.functions_pairs import Link, arguments_of
from graphrev.analysis.identities import origin
from graphrev.editor import GraphEditor
from graphrev.ir import Argument, AttrValue, DType, Function, FunctionRef, Node, Shape, TensorRef
from graphrev.recomputation.functions.bodies import Bodies, Layout, Slot, any_shape
from graphrev.recomputation.functions.library import Library
from graphrev.recomputation.functions.signatures import (
    add_inputs,
    keep_inputs,
    set_bodies,
    set_outputs,
)
from graphrev.recomputation.functions.splitting import Demand


@dataclass(frozen=True, eq=False)
class Change:
    """What is done to a functional node and its gradient.

    Attributes:
        demands: what the gradient bodies need, by branch.
        layout: the new signature.
        dropped: links that are gone.
    """

    demands: tuple[Demand, ...]
    layout: Layout
    dropped: tuple[Link, ...]

    @property
    def saved_each_time(self) -> int:
        """How many new values are saved whenever the forward function or its body runs."""
        anchors = self.layout.anchors
        always = anchors is not None and anchors[0] == 1
        return sum(slot.carried is None or always for slot in self.layout.slots)

    def lacks_anchors(self, every: int | None) -> bool:
        """Whether carried variables were to be saved, and it cannot be said when."""
        return every is not None and bool(self.layout.carried) and self.layout.anchors is None

    @classmethod
    def of(cls, demands: Sequence[Demand], cut: frozenset[Link], every: int | None) -> Change:
        """The change that meets all ``demands`` at once.

        Args:
            every: save each carried variable once in so many iterations.
        """
        first = demands[0].sides.combined.wires
        needed = {link for demand in demands for link in demand.links.values()}
        dropped = sorted((link for link in cut if link not in needed), key=lambda n: n.argument)
        outputs, arguments = {n.output for n in dropped}, {n.argument for n in dropped}
        known = set(first.shared.values())
        outer = dict.fromkeys(p for d in demands for p in d.outer.values() if p not in known)
        slots = tuple(
            Slot(branch, ref, dtype)
            for branch, demand in enumerate(demands)
            for ref in demand.added
            if (dtype := ops.output_dtype(demand.sides.graph[ref.node], ref.index)) is not None
        )
        counters = find_counters(first) if every is not None and demands[0].carried else None
        anchors = None if every is None or counters is None else (every, counters)
        if anchors is not None:
            slots += _anchors(demands[0])
        layout = Layout(
            tuple(p for p in range(len(first.forward.returned)) if p not in outputs),
            tuple(p for p in range(len(first.backward.arguments)) if p not in arguments),
            tuple(outer),
            tuple(dict.fromkeys(demands[0].hoisted.values())),
            tuple(demands[0].carried),
            slots,
            anchors,
        )
        return cls(tuple(demands), layout, tuple(dropped))


def _anchors(demand: Demand) -> tuple[Slot, ...]:
    """A slot for each carried variable."""
    inputs = demand.sides.combined.wires.forward.function.inputs
    return tuple(
        Slot(0, ref, dtype, place)
        for ref, place in demand.finals.items()
        if (dtype := inputs[place].dtype) is not None
    )


def write_change(change: Change, editor: GraphEditor, library: Library) -> tuple[str, ...]:
    """Writes the functions and gives the two nodes their new signatures.

    Returns:
        the names of the new bodies.
    """
    return _Writer(change, editor, library).write()


class _Writer:
    def __init__(self, change: Change, editor: GraphEditor, library: Library) -> None:
        self._change = change
        self._layout = change.layout
        self._editor = editor
        self._library = library
        self._wires = change.demands[0].sides.combined.wires
        self._twins = self._wires.twins
        self._loop = self._twins.family == "loop"

    def write(self) -> tuple[str, ...]:
        """Writes everything; returns the names of the new bodies."""
        bodies = self._bodies()
        editor, layout, twins = self._editor, self._layout, self._twins
        lists = self._lists() if self._loop else ()
        reads = tuple(self._hoist(name) for name in layout.hoisted)
        before = 1 if editor[twins.backward].op in BRANCHES else 0
        keep_inputs(
            editor, twins.backward, [*range(before), *(p + before for p in layout.arguments)]
        )
        slots = [(s.dtype if twins.family == "call" else DType.VARIANT) for s in layout.slots]
        if self._loop:
            keep_inputs(editor, twins.forward, layout.outputs)
            add_inputs(editor, twins.forward, [(ref, DType.VARIANT) for ref in lists])
        count = len(self._wires.forward.returned)
        set_outputs(editor, twins.forward, count, layout.outputs, [(d, Shape(None)) for d in slots])
        more = self._more_inputs(reads)
        add_inputs(editor, twins.backward, more)
        if self._loop:
            self._drop_dead_readers()
            count = len(self._wires.backward.returned)
            shapes = [(dtype, Shape(None)) for _, dtype in more]
            set_outputs(editor, twins.backward, count, layout.arguments, shapes)
        conditions = self._conditions([dtype for _, dtype in more])
        set_bodies(editor, twins.forward, bodies[0], conditions[0])
        set_bodies(editor, twins.backward, bodies[1], conditions[1])
        return (*bodies[0], *bodies[1])

    def _bodies(self) -> tuple[list[str], list[str]]:
        found: tuple[list[str], list[str]] = ([], [])
        for branch, demand in enumerate(self._change.demands):
            wires = demand.sides.combined.wires
            made = Bodies(demand, self._layout, branch)
            first = self._add(made.forward(wires.forward.function.name))
            second = self._add(made.backward(wires.backward.function.name))
            self._point_at_each_other(first, second)
            found[0].append(first)
            found[1].append(second)
        return found

    def _add(self, function: Function) -> str:
        name = self._library.free(function.name)
        self._library.now[name] = replace(function, name=name)
        return name

    def _point_at_each_other(self, first: str, second: str) -> None:
        for name, key, value in (
            (first, "backward_function_name", second),
            (second, "forward_function_name", first),
        ):
            function = self._library.now[name]
            if key in function.attrs:
                attrs = MappingProxyType({**function.attrs, key: value.encode()})
                self._library.now[name] = replace(function, attrs=attrs)

    def _lists(self) -> tuple[TensorRef, ...]:
        """An empty list for each new link of a loop."""
        found: list[TensorRef] = []
        name = self._twins.forward
        for _ in self._layout.slots:
            shape = self._new(f"{name}/graphrev/element_shape", "Const", (), any_shape())
            limit = self._new(f"{name}/graphrev/max_num_elements", "Const", (), any_shape())
            slot = self._layout.slots[len(found)]
            attrs = {"element_dtype": slot.dtype, "shape_type": DType.INT32}
            listed = self._new(f"{name}/graphrev/saved", "EmptyTensorList", (shape, limit), attrs)
            found.append(listed)
        return tuple(found)

    def _hoist(self, name: str) -> TensorRef:
        """A read of a variable just before the loop, which nothing can come between."""
        wires, editor = self._wires, self._editor
        inner = self._change.demands[0].sides.graph
        handle = origin(inner, inner[name].inputs[0])
        place = wires.forward.arguments.index(handle.node)
        loop = editor[self._twins.forward]
        first = (ref.node for ref in loop.inputs if not ops.is_variable(editor[ref.node].op))
        waits = tuple(dict.fromkeys((*first, *loop.control_inputs)))
        read = self._new(
            f"{loop.name}/graphrev/{name}",
            "ReadVariableOp",
            (loop.inputs[place],),
            {"dtype": inner[name].attr("dtype")},
            waits,
        )
        editor.add_controls(loop.name, (read.node,))
        return read

    def _new(
        self,
        wanted: str,
        op: str,
        inputs: tuple[TensorRef, ...],
        attrs: Mapping[str, AttrValue],
        waits: tuple[str, ...] = (),
    ) -> TensorRef:
        name = self._editor.unique_name(wanted)
        device = self._editor[self._twins.forward].device
        node = Node(name, op, inputs, waits, device, MappingProxyType({**attrs}))
        return TensorRef(self._editor.add(node))

    def _more_inputs(self, reads: Iterable[TensorRef]) -> list[tuple[TensorRef, DType]]:
        """What the gradient node reads in addition, in the order of its new arguments."""
        layout, name = self._layout, self._twins.forward
        inner = self._wires.forward.function.inputs
        loop = arguments_of(self._wires.level[name])
        found: list[tuple[TensorRef, DType | None]] = [
            (loop[place], inner[place].dtype) for place in layout.outer
        ]
        graph = self._change.demands[0].sides.graph
        for ref, node in zip(reads, layout.hoisted):
            found.append((ref, ops.output_dtype(graph[node], 0)))
        for place in layout.carried:
            ref = TensorRef(name, layout.outputs.index(place))
            found.append((ref, inner[place].dtype))
        for number, slot in enumerate(layout.slots):
            dtype = slot.dtype if self._twins.family == "call" else DType.VARIANT
            found.append((TensorRef(name, len(layout.outputs) + number), dtype))
        return [(ref, dtype) for ref, dtype in found if dtype is not None]

    def _drop_dead_readers(self) -> None:
        """Removes what renamed a list that the gradient loop handed out and nobody read."""
        editor, name = self._editor, self._twins.backward
        gone = {link.argument for link in self._change.dropped}
        for reader in tuple(editor.readers(name)):
            inputs = editor[reader].inputs
            if editor[reader].op != HOLDER_OP and any(
                ref.node == name and ref.index in gone for ref in inputs
            ):
                editor.remove(reader)

    def _conditions(self, more: Sequence[DType]) -> tuple[str, str]:
        if not self._loop:
            return "", ""
        lists = [DType.VARIANT] * len(self._layout.slots)
        first, second = self._wires.conditions
        return (
            self._add(_condition(first.function, self._layout.outputs, lists)),
            self._add(_condition(second.function, self._layout.arguments, more)),
        )


def _condition(function: Function, kept: Sequence[int], more: Sequence[DType]) -> Function:
    """A loop's condition with other arguments; it reads none that is dropped or added."""
    inputs = [function.inputs[place] for place in kept]
    taken = {*function.nodes, *(item.name for item in function.inputs)}
    for dtype in more:
        number = len(inputs)
        while f"graphrev_unused_{number}" in taken:
            number += 1
        taken.add(f"graphrev_unused_{number}")
        inputs.append(Argument(f"graphrev_unused_{number}", dtype))
    return replace(function, inputs=tuple(inputs), raw=None)


def condition_of(node: Node) -> str | None:
    """The function that decides whether a loop goes on."""
    value = node.attrs.get("cond")
    return value.name if isinstance(value, FunctionRef) else None


__all__ = ["Change", "condition_of", "write_change"]
