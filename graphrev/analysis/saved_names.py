"""Under what names variables are saved, and which are parts, read off the graph's save ops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphrev.io import constants
from graphrev.ir import Graph, TensorRef, TensorValue

_SAVES = ("SaveV2", "SaveSlices")
_NAMES, _SLICES, _FIXED = 1, 2, 3
"""They read the file name, tensor names and slices before the tensors."""


def saved_names(graph: Graph) -> dict[str, str]:
    """By variable the name it is saved under, for every variable that a save op holds."""
    return {variable: name for variable, name, _ in _saved(graph)}


def saved_parts(graph: Graph) -> Mapping[str, tuple[slice, ...]]:
    """By variable that is saved as a part of a larger tensor, where in that tensor it is."""
    found: dict[str, tuple[slice, ...]] = {}
    for variable, _, spelled in _saved(graph):
        part = _part(spelled)
        if part is not None:
            found[variable] = part
    return found


def _saved(graph: Graph) -> Iterator[tuple[str, str, str]]:
    """Each variable, its name, and its slice as TensorFlow spells it: empty for the whole."""
    for node in graph.nodes.values():
        if node.op not in _SAVES:
            continue
        names, slices = (_strings(graph, node.inputs[place]) for place in (_NAMES, _SLICES))
        padded = (*slices, *([""] * (len(names) - len(slices))))
        for ref, name, spelled in zip(node.inputs[_FIXED:], names, padded):
            source = graph[ref.node]
            while source.op in ("Identity", "ReadVariableOp"):
                source = graph[source.inputs[0].node]
            yield source.name, name, spelled


def _strings(graph: Graph, ref: TensorRef) -> tuple[str, ...]:
    value = graph[ref.node].attrs.get("value")
    found = constants.string_values(value) if isinstance(value, TensorValue) else ()
    return tuple(item.decode("utf-8", "replace") for item in found)


def _part(spelled: str) -> tuple[slice, ...] | None:
    """``"4 6 0,2:-"`` is ``[0:2, :]`` of a tensor of 4 x 6 (core/framework/tensor_slice.h)."""
    axes: list[slice] = []
    for axis in spelled.rpartition(" ")[2].split(":"):
        start, comma, length = axis.partition(",")
        if axis == "-":
            axes.append(slice(None))
        elif comma and start.isdigit() and length.isdigit():
            axes.append(slice(int(start), int(start) + int(length)))
        else:
            return None
    return tuple(axes)
