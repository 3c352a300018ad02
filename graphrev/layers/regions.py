"""Finds out what a function added to the graph, and puts the deferred gradient behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphrev.analysis import ops
from graphrev.gradients import Recompute, defer

_METADATA = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def defer_copy(
    outputs: Sequence[Any],
    starts: Sequence[Any],
    since: int,
    name: str,
    recompute: Recompute | None = None,
) -> list[Any]:
    """Makes what was built between ``starts`` and ``outputs`` recompute itself.

    Args:
        outputs: tensors that a function returned.
        starts: the tensors it was called with.
        since: the graph's ``version`` before the call.
        name: names the block in scopes.
        recompute: see :func:`graphrev.gradients.defer`.

    Returns:
        The tensors to use in place of ``outputs``.
    """
    return defer(outputs, captures(outputs, starts, since), starts, name, recompute)


def captures(outputs: Sequence[Any], starts: Sequence[Any], since: int) -> list[Any]:
    """What the region between ``starts`` and ``outputs`` reads from outside.

    The region are the ops younger than ``since`` that depend on ``starts``. Random ops, ops with
    state and Switch, Merge and their like do not belong to it: their outputs are captured, so
    that nothing runs twice that may answer differently.
    """
    first = {_key(start) for start in starts}
    inside: set[Any] = set()
    for op in sorted(_ancestors(outputs, first, since), key=lambda op: op._id):
        if not _is_source(op) and any(_key(t) in first or t.op in inside for t in op.inputs):
            inside.add(op)
    found = [tensor for tensor in outputs if tensor.op not in inside]
    for op in sorted(inside, key=lambda op: op._id):
        found.extend(t for t in op.inputs if t.op not in inside and t.op.type != "Const")
    unique = {_key(tensor): tensor for tensor in found if _key(tensor) not in first}
    return list(unique.values())


def _ancestors(outputs: Sequence[Any], first: set[Any], since: int) -> set[Any]:
    pending = [tensor.op for tensor in outputs if _key(tensor) not in first]
    seen: set[Any] = {op for op in pending if op._id > since}
    pending = list(seen)
    while pending:
        op = pending.pop()
        if _is_source(op):
            continue
        for tensor in op.inputs:
            source = tensor.op
            if source not in seen and source._id > since and _key(tensor) not in first:
                seen.add(source)
                pending.append(source)
    return seen


def _is_source(op: Any) -> bool:
    return (
        op.type in _METADATA
        or ops.is_stateful(op.type)
        or ops.is_random(op.type)
        or ops.is_control_flow_v1(op.type)
    )


def _key(tensor: Any) -> Any:
    return (tensor.op._id, tensor.value_index)
