"""Which tensors cross from one device to another, as far as the graph's devices say.

TensorFlow sends a tensor once to each device that reads it, whoever reads it there (core/graph/
graph_partition.cc). What carries no device of its own sits with what it is colocated with, else
wherever the runtime puts it: such edges are not counted, and neither are those between two names
that may stand for one device (``/device:CPU:0`` and ``/job:worker/device:CPU:0``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from graphrev.analysis.shapes import infer_shapes
from graphrev.errors import printable
from graphrev.ir import Graph, Node, Shape, TensorRef

_COLOCATED = b"loc:@"


@dataclass(frozen=True, order=True, slots=True)
class Crossing:
    """A tensor that is sent to ``device``; a control input is sent as an empty one.

    ``size`` is in bytes; ``None`` where it is not known.
    """

    tensor: str
    device: str
    size: int | None = None

    def __str__(self) -> str:
        size = "of unknown size" if self.size is None else f"{self.size} bytes"
        return f"{printable(self.tensor)} to {printable(self.device)} ({size})"


def new_crossings(
    before: Graph, after: Graph, feeds: Mapping[str, Shape] | None = None
) -> tuple[Crossing, ...]:
    """What crosses devices in ``after`` and did not in ``before``, sorted."""
    if after is before or not any(node.device for node in after.nodes.values()):
        return ()
    added = sorted(_edges(after) - _edges(before), key=str)
    shapes = infer_shapes(after, feeds) if added else None
    found = [
        Crossing(
            f"^{source}" if isinstance(source, str) else str(source),
            device,
            0 if isinstance(source, str) or shapes is None else shapes.bytes(source),
        )
        for source, device in added
    ]
    return tuple(sorted(found, key=lambda item: (item.tensor, item.device)))


def _edges(graph: Graph) -> set[tuple[TensorRef | str, str]]:
    devices = _devices(graph)
    found: set[tuple[TensorRef | str, str]] = set()
    for name, node in graph.nodes.items():
        here = devices[name]
        if not here:
            continue
        for ref in node.inputs:
            there = devices[ref.node]
            if differ(there, here):
                found.add((ref, here))
        for source in node.control_inputs:
            if differ(devices[source], here):
                found.add((source, here))
    return found


@lru_cache(maxsize=4096)
def differ(one: str, other: str) -> bool:
    """Whether two device names cannot stand for one device: they disagree in a part both name."""
    if one == other or not one or not other:
        return False
    left, right = _parts(one), _parts(other)
    return any(left[key] != right[key] for key in left.keys() & right.keys())


def _parts(device: str) -> dict[str, str]:
    """The parts of a device name (core/util/device_name_utils.h), in lower case."""
    found: dict[str, str] = {}
    for part in device.lower().split("/"):
        key, _, value = part.removeprefix("device:").partition(":")
        if key in ("job", "replica", "task"):
            found[key] = value
        elif key:
            found["type"] = key
            if value not in ("", "*"):
                found["number"] = value
    return found


def _devices(graph: Graph) -> dict[str, str]:
    """Where each node sits; empty where the graph does not say."""
    return {name: _device(graph, node) for name, node in graph.nodes.items()}


def _device(graph: Graph, node: Node) -> str:
    places = node.attrs.get("_class")
    for place in places if isinstance(places, tuple) else ():
        if isinstance(place, bytes) and place.startswith(_COLOCATED):
            other = graph.nodes.get(place[len(_COLOCATED) :].decode("utf-8", "replace"))
            if other is not None and other.device:
                return other.device
    return node.device
