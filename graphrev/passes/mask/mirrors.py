"""Copies of one variable that are kept the same on every device.

``MirroredStrategy`` (tensorflow/python/distribute/mirrored_strategy.py) makes every variable once
on each device, starts all of them with one value, and updates all of them with one gradient, the
sum over the devices. They stay the same only as long as their masks are: what is decided for one is
decided for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from graphrev.analysis import ops
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph, TensorRef
from graphrev.passes.mask.updates import updated_by

_Key = tuple[TensorRef, frozenset[TensorRef]]


def mirrored(graph: Graph, variables: Iterable[str]) -> Mapping[str, str]:
    """For each variable that mirrors another one, the first of them."""
    first: dict[_Key, str] = {}
    found: dict[str, str] = {}
    for name in variables:
        start, changes = starts_with(graph, name), frozenset(_changes(graph, name))
        if start is None or not changes:
            continue
        known = first.setdefault((start, changes), name)
        if known != name:
            found[name] = known
    return found


def without_copies(graph: Graph, counters: Iterable[str]) -> list[str]:
    """``counters`` without those that start with the very tensor an earlier one starts with."""
    starts: dict[TensorRef | str, str] = {}
    for name in counters:
        starts.setdefault(starts_with(graph, name) or name, name)
    return list(starts.values())


def starts_with(graph: Graph, variable: str) -> TensorRef | None:
    """What a variable is initialised with, through identities; ``None`` if that is not plain."""
    values = [
        graph[reader].inputs[1]
        for reader in graph.readers_of(TensorRef(variable))
        if ops.is_assignment(graph[reader].op) and graph[reader].inputs[0] == TensorRef(variable)
    ]
    starts = {_origin(graph, value) for value in values}
    return starts.pop() if len(starts) == 1 else None


def refuse_mirrors(mirrors: Mapping[str, str], options: Mapping[str, bool]) -> None:
    """Refuses ``options`` that would choose different weights of a variable and of its mirror.

    Raises:
        UsageError: there is a mirror, and one of the options is set.
    """
    wrong = next((spelled for spelled, is_so in options.items() if is_so), None)
    if mirrors and wrong is not None:
        copy, of = (printable(name) for name in next(iter(mirrors.items())))
        raise UsageError(
            f"mask: '{copy}' is a copy of '{of}' on another device (MirroredStrategy), and {wrong} "
            "would drop other weights of the one than of the other. Leave it out."
        )


def _changes(graph: Graph, variable: str) -> Iterator[TensorRef]:
    """The computed tensors that a variable is updated with."""
    for name in updated_by(graph, variable):
        for value in graph[name].inputs[1:]:
            origin = _origin(graph, value)
            node = graph[origin.node]
            kept = ops.is_variable(node.op) or ops.is_variable_read(node.op)
            if not kept and not ops.is_constant(node.op):
                yield origin


def _origin(graph: Graph, ref: TensorRef) -> TensorRef:
    """The tensor that ``ref`` is a copy of, on this device or another."""
    while graph[ref.node].op == "Identity":
        ref = graph[ref.node].inputs[0]
    return ref
