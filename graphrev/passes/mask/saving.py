"""The savers and initializers that hold a masked kernel; its mask joins them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphrev.analysis import ops
from graphrev.analysis.order import descendant_labels, index_of
from graphrev.editor import GraphEditor
from graphrev.io import constants
from graphrev.ir import Graph, Node, TensorRef, TensorValue
from graphrev.passes.mask.nodes import AddedVariable, Writer
from graphrev.passes.mask.plan import SaverPlan

_SAVES = {"SaveV2": "dtypes", "SaveSlices": "T"}
"""The attribute that lists the types; SaveSlices writes the older format."""
_RESTORE = "RestoreV2"
SHAPES_ATTR = "_output_shapes"
_FIXED = 3
"""The save ops read the file name, tensor names and slices before the tensors."""
_ASKS = frozenset({"IsVariableInitialized", "VarIsInitializedOp"})
_READS_ONLY = 1
"""The label of what depends on a variable and asks for none."""


def find_savers(graph: Graph, kernels: frozenset[str]) -> tuple[SaverPlan, ...]:
    """The save and restore ops that hold one of ``kernels``."""
    found: list[SaverPlan] = []
    for name, node in graph.nodes.items():
        if node.op in _SAVES:
            held = dict(_saved(graph, node, kernels))
            if held:
                slices = tuple(_slices(graph, node, held))
                found.append(SaverPlan(name, None, None, tuple(held), slices))
        elif node.op == _RESTORE:
            places, group = _restored(graph, name, kernels)
            if places:
                slices = tuple(_slices(graph, node, places))
                found.append(SaverPlan(None, name, group, tuple(places), slices))
    return _with_first(graph, found)


def _with_first(graph: Graph, savers: list[SaverPlan]) -> tuple[SaverPlan, ...]:
    """The plans, the first save and the first restore of each saver told apart.

    A saver may be split by device; its ops all read the file name from one node.
    """
    seen: set[tuple[str, bool]] = set()
    found: list[SaverPlan] = []
    for saver in savers:
        key = _file_name(graph, saver.save or saver.restore or ""), saver.save is not None
        found.append(replace(saver, holds_step=key not in seen))
        seen.add(key)
    return tuple(found)


def _file_name(graph: Graph, name: str) -> str:
    while graph[name].inputs:
        name = graph[name].inputs[0].node
    return name


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
        elif ops.is_assignment(node.op) and node.inputs[0].node in kernels:
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
    assigns = [name for name, node in graph.nodes.items() if ops.is_assignment(node.op)]
    for name in _initializing(graph, [n for n in assigns if graph[n].inputs[0].node in kernels]):
        for group in graph.control_readers.get(name, ()):
            if graph[group].op == "NoOp":
                found[graph[name].inputs[0].node, group] = None
    return tuple(found)


def _initializing(graph: Graph, assigns: Sequence[str]) -> Iterator[str]:
    """Those of ``assigns`` that give a variable its first value.

    What a step computes from variables is an update: of an optimizer in plain arithmetic, a clipped
    weight, a copy. An initializer reads other variables only where it asks whether they have a
    value yet (``initialized_value``).
    """
    index = index_of(graph)
    kinds = [
        [index.ids[name] for name, node in graph.nodes.items() if holds(node.op)]
        for holds in (ops.is_variable, _ASKS.__contains__)
    ]
    labels = descendant_labels(index, kinds, control=False)
    for name in assigns:
        node = graph[name]
        restored = graph[node.inputs[1].node].op in (_RESTORE, "Identity")
        if restored and _is_restore(graph, node):
            continue
        if labels[index.ids[node.inputs[1].node]] != _READS_ONLY:
            yield name


def _is_restore(graph: Graph, assign: Node) -> bool:
    source = graph[assign.inputs[1].node]
    while source.op in ("Identity", "Reshape"):
        source = graph[source.inputs[0].node]
    return source.op == _RESTORE


@dataclass(frozen=True, slots=True)
class Saved:
    """A variable for a saver: under what name, and as what part of a larger tensor (if any)."""

    key: str
    part: bytes
    variable: AddedVariable


def extend_save(editor: GraphEditor, save: str, added: Sequence[Saved]) -> None:
    """Saves more variables with an existing save op."""
    _extend_strings(editor, save, 1, [item.key.encode() for item in added])
    _extend_strings(editor, save, 2, [item.part for item in added])
    attr = _SAVES[editor[save].op]
    dtypes = editor[save].attr(attr)
    assert isinstance(dtypes, tuple)
    editor.set_attr(save, attr, (*dtypes, *(item.variable.dtype for item in added)))
    for item in added:
        variable = item.variable
        source = variable.value if variable.is_resource else TensorRef(variable.variable)
        editor.add_input(save, source)


def replace_constant(editor: GraphEditor, name: str, value: TensorValue) -> None:
    """Gives a constant another value, and the shape that TensorFlow wrote beside it."""
    editor.set_attr(name, "value", value)
    if SHAPES_ATTR in editor[name].attrs:
        editor.set_attr(name, SHAPES_ATTR, (value.shape,))


def _extend_strings(editor: GraphEditor, name: str, position: int, more: list[bytes]) -> None:
    source = editor[name].inputs[position].node
    value = editor[source].tensor_attr("value")
    longer = constants.strings((*constants.string_values(value), *more))
    if list(editor.readers(source)) == [name]:
        replace_constant(editor, source, longer)
        return
    writer = Writer(editor, f"{name}/", device=editor[source].device)
    editor.set_input(name, position, writer.constant(longer, "names", "saver"))
