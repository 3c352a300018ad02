"""Under what names variables are saved, read off the graph's save ops."""

from __future__ import annotations

from graphrev.io import constants
from graphrev.ir import Graph, TensorValue

_SAVES = ("SaveV2", "SaveSlices")
_FIXED = 3
"""They read the file name, tensor names and slices before the tensors."""


def saved_names(graph: Graph) -> dict[str, str]:
    """By variable the name it is saved under, for every variable that a save op holds."""
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        if node.op not in _SAVES:
            continue
        value = graph[node.inputs[1].node].attrs.get("value")
        names = constants.string_values(value) if isinstance(value, TensorValue) else ()
        for ref, name in zip(node.inputs[_FIXED:], names):
            source = graph[ref.node]
            while source.op in ("Identity", "ReadVariableOp"):
                source = graph[source.inputs[0].node]
            found[source.name] = name.decode("utf-8", "replace")
    return found
