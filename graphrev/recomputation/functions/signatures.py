"""Gives functional nodes other inputs and outputs, their readers following."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from graphrev.analysis.functions_bodies import HOLDER_OP
from graphrev.analysis.functions_calls import BRANCHES, LOOPS
from graphrev.analysis.functions_pairs import BODIES
from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, DType, FunctionRef, Shape, TensorRef

_READ_ONLY = "_read_only_resource_inputs"


def keep_inputs(editor: GraphEditor, name: str, kept: Sequence[int]) -> None:
    """Leaves node ``name`` the data inputs ``kept``, in that order."""
    node = editor[name]
    listed = node.attrs.get(_READ_ONLY)
    if isinstance(listed, tuple):
        places = {old: new for new, old in enumerate(kept)}
        left = (places[item] for item in listed if isinstance(item, int) and item in places)
        editor.set_attr(name, _READ_ONLY, tuple(left))
    _set_inputs(editor, name, tuple(node.inputs[place] for place in kept))
    _pick(editor, name, _inputs_key(node.op), [place - _first(node.op) for place in kept], ())


def add_inputs(editor: GraphEditor, name: str, more: Sequence[tuple[TensorRef, DType]]) -> None:
    """Lets node ``name`` read ``more`` behind its inputs."""
    node = editor[name]
    for ref, _ in more:
        editor.add_input(name, ref)
    count = len(node.inputs) - _first(node.op)
    types = tuple(dtype for _, dtype in more)
    _pick(editor, name, _inputs_key(node.op), range(count), types)


def set_outputs(
    editor: GraphEditor,
    name: str,
    count: int,
    kept: Sequence[int],
    more: Sequence[tuple[DType, Shape]],
) -> None:
    """Leaves node ``name``, which has ``count`` outputs, those in ``kept``, and adds ``more``.

    What is dropped must have no readers.
    """
    node = editor[name]
    places = {old: new for new, old in enumerate(kept)}
    for reader in tuple(editor.readers(name)):
        for position, ref in enumerate(editor[reader].inputs):
            if ref.node == name:
                gone = editor[reader].inputs[-1] if editor[reader].op == HOLDER_OP else None
                place = places.get(ref.index)
                if place is None and gone is not None:
                    editor.set_input(reader, position, gone)
                else:
                    editor.set_input(reader, position, TensorRef(name, places[ref.index]))
    if node.op not in LOOPS:
        _pick(editor, name, "Tout", kept, [dtype for dtype, _ in more])
    for key in ("output_shapes", "_output_shapes"):
        if len(_listed(node.attrs.get(key))) == count:
            _pick(editor, name, key, kept, [shape for _, shape in more])
    if "_num_original_outputs" in node.attrs:
        editor.set_attr(name, "_num_original_outputs", len(kept) + len(more))


def set_functions(editor: GraphEditor, name: str, named: Callable[[str], str]) -> None:
    """Lets node ``name`` call the functions that ``named`` gives for those it calls."""
    for key, value in editor[name].attrs.items():
        if isinstance(value, FunctionRef):
            editor.set_attr(name, key, FunctionRef(named(value.name), value.attrs))
        elif isinstance(value, tuple) and any(isinstance(item, FunctionRef) for item in value):
            items = (
                FunctionRef(named(item.name), item.attrs) if isinstance(item, FunctionRef) else item
                for item in value
            )
            editor.set_attr(name, key, tuple(items))


def set_bodies(editor: GraphEditor, name: str, bodies: Sequence[str], condition: str = "") -> None:
    """Lets node ``name`` run ``bodies``, in the order of :func:`bodies_of`."""
    node, left = editor[name], iter(bodies)
    for key in BODIES[node.op]:
        value = node.attrs[key]
        if isinstance(value, FunctionRef):
            editor.set_attr(name, key, FunctionRef(next(left), value.attrs))
        elif isinstance(value, tuple):
            items = (i for i in value if isinstance(i, FunctionRef))
            editor.set_attr(name, key, tuple(FunctionRef(next(left), i.attrs) for i in items))
    old = node.attrs.get("cond")
    if condition and isinstance(old, FunctionRef):
        editor.set_attr(name, "cond", FunctionRef(condition, old.attrs))


def _set_inputs(editor: GraphEditor, name: str, inputs: tuple[TensorRef, ...]) -> None:
    while len(editor[name].inputs) > len(inputs):
        editor.drop_input(name)
    for place, ref in enumerate(inputs):
        editor.set_input(name, place, ref)


def _first(op: str) -> int:
    """The place of the first input that is an argument."""
    return 1 if op in BRANCHES else 0


def _inputs_key(op: str) -> str:
    return "T" if op in LOOPS else "Tin"


def _listed(value: AttrValue | None) -> tuple[AttrValue, ...]:
    return value if isinstance(value, tuple) else ()


def _pick(
    editor: GraphEditor, name: str, key: str, kept: Iterable[int], more: Iterable[AttrValue]
) -> None:
    listed = _listed(editor[name].attrs.get(key))
    value = (*(listed[place] for place in kept if 0 <= place < len(listed)), *more)
    editor.set_attr(name, key, value)  # pyright: ignore[reportArgumentType]
