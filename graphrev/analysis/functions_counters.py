"""The counters by which a functional loop and its gradient know the iteration they are in.

The forward loop counts up from 0 by 1. The gradient loop counts its own iterations in the same way
and is handed the forward loop's count, which it leaves as it is (python/ops/while_v2.py): so
iteration ``k`` of the gradient, counted from 0, belongs to iteration ``n - k`` of the forward loop,
counted from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphrev.analysis.functions_bodies import Body
from graphrev.analysis.functions_pairs import Wires
from graphrev.analysis.identities import origin
from graphrev.io.tensors import integers
from graphrev.ir import DType, Graph, TensorRef, TensorValue


@dataclass(frozen=True, slots=True)
class Counters:
    """Places among the arguments of the two bodies; all three are int32.

    Attributes:
        forward: what counts the forward loop's iterations, before each.
        backward: what counts the gradient loop's iterations, before each.
        total: how many iterations the forward loop had, in the gradient loop.
    """

    forward: int
    backward: int
    total: int


def find_counters(wires: Wires) -> Counters | None:
    """The counters of a loop and its gradient, if they are to be proven."""
    first = list(_counting(wires.level, wires.forward, wires.twins.forward))
    second = list(_counting(wires.level, wires.backward, wires.twins.backward))
    inputs = wires.level[wires.twins.backward].inputs
    for place, ref in enumerate(inputs):
        source = origin(wires.level, ref)
        if source.node == wires.twins.forward and source.index in first and second:
            if wires.is_constant(wires.backward, place):
                return Counters(source.index, second[0], place)
    return None


def _counting(level: Graph, body: Body, loop: str) -> Iterator[int]:
    """The places of variables that start at 0 and grow by 1 an iteration."""
    for place, ref in enumerate(level[loop].inputs):
        argument = TensorRef(body.arguments[place])
        if body.function.inputs[place].dtype is not DType.INT32 or _constant(level, ref) != 0:
            continue
        step = body.graph[origin(body.graph, body.returned[place]).node]
        if step.op in ("Add", "AddV2") and origin(body.graph, step.inputs[0]) == argument:
            if _constant(body.graph, step.inputs[1]) == 1:
                yield place


def _constant(graph: Graph, ref: TensorRef) -> int | None:
    value = graph[origin(graph, ref).node].attrs.get("value")
    if not isinstance(value, TensorValue) or value.shape.dims != ():
        return None
    return (integers(value) or (None,))[0]
