"""The savers and initializers that hold a masked kernel; its mask joins them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import DType, Graph, Node, TensorRef, TensorValue
from graphrev.passes.mask.nodes import AddedVariable, Writer
from graphrev.passes.mask.plan import SaverPlan

_SAVE, _RESTORE = "SaveV2", "RestoreV2"
_FIXED = 3
"""SaveV2 reads the file name, tensor names and slices before the tensors."""
_ASSIGN = frozenset({"Assign", "AssignVariableOp"})


def find_savers(graph: Graph, kernels: frozenset[str]) -> tuple[SaverPlan, ...]:
    """The save and restore ops that hold one of ``kernels``."""
    found: list[SaverPlan] = []
    for name, node in graph.nodes.items():
        if node.op == _SAVE:
            held = dict(_saved(graph, node, kernels))
            if held:
                slices = tuple(_slices(graph, node, held))
                found.append(SaverPlan(name, None, None, tuple(held), slices))
        elif node.op == _RESTORE:
            places, group = _restored(graph, name, kernels)
            if places:
                slices = tuple(_slices(graph, node, places))
                found.append(SaverPlan(None, name, group, tuple(places), slices))
    return tuple(found)


def _saved(graph: Graph, save: Node, kernels: frozenset[str]) -> Iterator[tuple[str, int]]:
    for place, ref in enumerate(save.inputs[_FIXED:]):
        node = graph[ref.node]
        while node.op in ("Identity", "ReadVariableOp"):
            node = graph[node.inputs[0].node]
        if node.name in kernels:
            yield node.name, place


def _restored(
    graph: Graph, restore: str, kernels: frozenset[str]
) -> tuple[dict[str, int], str | None]:
    """The kernels that are assigned from ``restore``, and the op that waits for all of it."""
    places: dict[str, int] = {}
    group: str | None = None
    pending = [
        (reader, ref.index)
        for reader in graph.readers.get(restore, ())
        for ref in graph[reader].inputs
        if ref.node == restore
    ]
    while pending:
        name, place = pending.pop(0)
        node = graph[name]
        if node.op in ("Identity", "Reshape"):
            pending.extend((reader, place) for reader in graph.readers.get(name, ()))
        elif node.op in _ASSIGN and node.inputs[0].node in kernels:
            places[node.inputs[0].node] = place
            waiting = graph.control_readers.get(name, ())
            group = group or next((w for w in waiting if graph[w].op == "NoOp"), None)
    return places, group


def _slices(graph: Graph, node: Node, places: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """What part of a larger tensor each kernel is, as the saver spells it; nothing for a whole."""
    value = graph[node.inputs[2].node].attrs.get("value")
    listed = constants.string_values(value) if isinstance(value, TensorValue) else ()
    for kernel, place in places.items():
        if place < len(listed) and listed[place]:
            yield kernel, listed[place]


def find_initializers(graph: Graph, kernels: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """``(kernel, group)`` for each op that waits for a kernel's initializer and nothing reads."""
    found: dict[tuple[str, str], None] = {}
    for name, node in graph.nodes.items():
        if node.op not in _ASSIGN or node.inputs[0].node not in kernels:
            continue
        if graph[node.inputs[1].node].op in (_RESTORE, "Identity") and _is_restore(graph, node):
            continue
        for group in graph.control_readers.get(name, ()):
            if graph[group].op == "NoOp":
                found[node.inputs[0].node, group] = None
    return tuple(found)


def _is_restore(graph: Graph, assign: Node) -> bool:
    source = graph[assign.inputs[1].node]
    while source.op in ("Identity", "Reshape"):
        source = graph[source.inputs[0].node]
    return source.op == _RESTORE


class SaverWriter:
    """Extends one saver by more variables."""

    def __init__(self, editor: GraphEditor, plan: SaverPlan) -> None:
        self._editor = editor
        self._plan = plan

    def extend(self, added: list[tuple[str, bytes, AddedVariable, DType, bool]]) -> None:
        """Adds variables: checkpoint key, slice, variable, type, whether it is a resource."""
        name = self._plan.save or self._plan.restore
        assert name is not None
        self._extend_strings(name, 1, [key.encode() for key, *_ in added])
        self._extend_strings(name, 2, [part for _, part, *_ in added])
        dtypes = self._editor[name].attrs["dtypes"]
        assert isinstance(dtypes, tuple)
        first = len(dtypes)
        self._editor.set_attr(name, "dtypes", (*dtypes, *(dtype for *_, dtype, _ in added)))
        if self._plan.save is not None:
            for _, _, variable, _, is_resource in added:
                source = variable.value if is_resource else TensorRef(variable.variable)
                self._editor.add_input(name, source)
            return
        assigns = [
            self._assign(TensorRef(name, first + place), variable, dtype, is_resource)
            for place, (_, _, variable, dtype, is_resource) in enumerate(added)
        ]
        if self._plan.restore_group is not None:
            self._editor.add_controls(self._plan.restore_group, assigns)

    def _extend_strings(self, name: str, position: int, more: list[bytes]) -> None:
        source = self._editor[name].inputs[position].node
        value = self._editor[source].attrs["value"]
        assert isinstance(value, TensorValue)
        longer = constants.strings((*constants.string_values(value), *more))
        if list(self._editor.readers(source)) == [name]:
            self._editor.set_attr(source, "value", longer)
            return
        writer = Writer(self._editor, f"{name}/", device=self._editor[source].device)
        self._editor.set_input(name, position, writer.constant(longer, "names", "saver"))

    def _assign(
        self, value: TensorRef, variable: AddedVariable, dtype: DType, is_resource: bool
    ) -> str:
        scope = self._plan.restore or ""
        node = self._editor[variable.variable]
        writer = Writer(
            self._editor,
            f"{scope.rpartition('/')[0]}/",
            device=node.device,
            place=variable.variable,
        )
        if is_resource:
            same = writer.add("Identity", "Identity", (value,), {"T": dtype})
            return writer.add(
                "AssignVariableOp",
                "AssignVariableOp",
                (TensorRef(variable.variable), same),
                {"dtype": dtype},
            ).node
        return writer.add(
            "Assign",
            "Assign",
            (TensorRef(variable.variable), value),
            {"T": dtype, "use_locking": True, "validate_shape": True},
        ).node
