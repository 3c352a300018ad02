"""Finds out what a function added to the graph, and puts the deferred gradient behind it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow

from graphrev.analysis import ops
from graphrev.gradients import Recompute, defer

tf: Any = tensorflow.compat.v1
_METADATA = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def defer_call(
    outputs: Sequence[Any],
    read: Sequence[Any],
    starts: Sequence[Any],
    name: str,
    recompute: Recompute | None = None,
    *,
    kept: bool = False,
) -> list[Any]:
    """Puts the deferred gradient behind what a call built; see :func:`graphrev.gradients.defer`.

    A call that returned nothing, or nothing that depends on anything, stays as it is.
    """
    if not outputs or not (read or starts):
        return list(outputs)
    return defer(outputs, read, starts, name, recompute, kept=kept)


def newest(graph: Any) -> int:
    """The number (``op._id``) of the op made last; ops made from now on have greater ones."""
    return int(graph.version) + _numbered_from()


@functools.cache
def _numbered_from() -> int:
    """How far op numbers run ahead of ``Graph.version``, which counts the ops."""
    graph = tensorflow.Graph()
    with graph.as_default():
        first: Any = tf.no_op()
    return first._id - int(graph.version)


def brought_in(tensor: Any) -> Any:
    """``tensor``, read once in the branch, loop or function that is being built.

    Whatever reads a tensor from outside of one reads another tensor that stands for it inside.
    """
    graph = tf.get_default_graph()
    if tensor.graph is graph and graph._get_control_flow_context() is None:
        return tensor
    return tf.identity(tensor)


def called_captures(outputs: Sequence[Any], starts: Sequence[Any], since: int) -> list[Any]:
    """What a call reads from outside when everything it built is built again.

    Variables are captured themselves, not what was read from them.
    """
    first = {_key(start) for start in starts}
    found: dict[Any, Any] = {}
    pending, seen = list(outputs), set[Any]()
    while pending:
        tensor = pending.pop()
        key = _key(tensor)
        if key in seen or key in first:
            continue
        seen.add(key)
        source = _variable_behind(tensor)
        if source is not None or tensor.op._id <= since:
            found[_key(source if source is not None else tensor)] = (
                tensor if source is None else source
            )
        else:
            pending.extend(tensor.op.inputs)
    unlisted = (tensor for _, tensor in sorted(found.items(), key=lambda item: item[0]))
    return [tensor for tensor in unlisted if not _is_own(tensor.op, since)]


def _variable_behind(tensor: Any) -> Any:
    """The variable that ``tensor`` is, or is read from; ``None`` for anything else."""
    while True:
        if ops.is_variable(tensor.op.type):
            return tensor
        if tensor.dtype.name == "resource" and tensor.op.type == "Placeholder":
            return tensor
        reads = tensor.op.type in ("Identity", "ReadVariableOp", "Enter", "RefEnter")
        if not reads or not tensor.op.inputs:
            return None
        tensor = tensor.op.inputs[0]


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
        found.extend(t for t in op.inputs if t.op not in inside and not _is_own(t.op, since))
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


def _is_own(op: Any, since: int) -> bool:
    """Whether ``op`` is a constant that the call itself made; nobody differentiates by those."""
    return op._id > since and op.type == "Const"


def _is_source(op: Any) -> bool:
    return (
        op.type in _METADATA
        or ops.is_stateful(op.type)
        or ops.is_random(op.type)
        or ops.is_control_flow_v1(op.type)
    )


def _key(tensor: Any) -> Any:
    return (tensor.op._id, tensor.value_index)
