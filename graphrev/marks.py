"""Marks a program leaves on its graph while building it.

They are node attributes, so they survive saving and importing, and TensorFlow ignores them.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from graphrev.errors import UsageError
from graphrev.io.protos import tensorflow_core
from graphrev.ir.marks import (
    GROUP_ATTR,
    NO_REWRITE_ATTR,
    PAIR_ATTR,
    PRUNABLE_ATTR,
    RECOMPUTE_ATTR,
    ROLES,
    PairMark,
)


@contextmanager
def residual_pair(name: str | None = None) -> Generator[None]:
    """Marks a residual pair: ``y1 = x1 + f(x2); y2 = x2 + g(y1)`` is built inside.

    Several pairs may be built in one ``with``; everything inside belongs to the mark.

    Args:
        name: names the block in reports and scopes; unique names are made when it repeats.
    """
    graph: Any = _default_graph()
    mark = PairMark(_unique(graph, name or "pair")).encode()
    with _attribute(graph, PAIR_ATTR, list_=[mark]):
        yield


def mark_residual_pair(x1: Any, x2: Any, y1: Any, y2: Any, name: str | None = None) -> None:
    """Marks tensors that were built as ``y1 = x1 + f(x2); y2 = x2 + g(y1)``.

    Args:
        x1, x2: the pair's inputs, graph tensors.
        y1, y2: its outputs.
        name: names the block in reports and scopes.

    Raises:
        UsageError: the tensors are not of one graph, or no graph tensors.
    """
    tensors = (x1, x2, y1, y2)
    graphs = {id(getattr(tensor, "graph", None)) for tensor in tensors}
    if len(graphs) != 1 or not all(hasattr(tensor, "op") for tensor in tensors):
        raise UsageError("mark_residual_pair needs four tensors of one graph, no eager values.")
    unique = _unique(x1.graph, name or "pair")
    for role, tensor in zip(ROLES, tensors):
        _append(tensor.op, PairMark(unique, role, tensor.value_index).encode())


@contextmanager
def recompute_scope(name: str | None = None) -> Generator[None]:
    """Marks a region that the ``recompute`` pass computes again in the backward pass.

    What is built inside is computed again from what enters the region, instead of being kept for
    the gradients. Scopes may be nested: an op belongs to the innermost scope it is built in, and
    what an outer scope holds before and after an inner one makes regions of its own.

    Args:
        name: names the region in reports and scopes; unique names are made when it repeats.
    """
    graph: Any = _default_graph()
    mark = _unique(graph, name or "region").encode()
    with _attribute(graph, RECOMPUTE_ATTR, list_=[mark]):
        yield


@contextmanager
def prunable(name: str | None = None) -> Generator[None]:
    """Kernels that are made or used inside are masked by the ``mask`` pass.

    Once a graph has such marks the pass masks nothing else, unless ``include`` says so.

    Args:
        name: a group; with ``allocation=global`` the kernels of one group are ranked together.
    """
    graph = _default_graph()
    with _attribute(graph, PRUNABLE_ATTR, flag=True):
        if name is None:
            yield
            return
        with _attribute(graph, GROUP_ATTR, list_=[name.encode()]):
            yield


@contextmanager
def no_rewrite() -> Generator[None]:
    """What is built inside is left alone by every pass."""
    with _attribute(_default_graph(), NO_REWRITE_ATTR, flag=True):
        yield


def _default_graph() -> Any:
    import tensorflow as tf

    from graphrev.io.live import watch_sessions

    if tf.executing_eagerly():
        raise UsageError(
            "Marks belong to a graph under construction, and TensorFlow runs eagerly here. Call "
            "tf.compat.v1.disable_eager_execution() first, or build inside "
            "'with tf.Graph().as_default():'."
        )
    watch_sessions()
    return tf.compat.v1.get_default_graph()


def _unique(graph: Any, name: str) -> str:
    """A mark name this graph has not used yet (``block``, ``block_1`` …)."""
    used: dict[str, int] | None = getattr(graph, "_graphrev_marks", None)
    if used is None:
        used = {}
        graph._graphrev_marks = used
    unique = name
    while unique in used:
        used[name] += 1
        unique = f"{name}_{used[name]}"
    used[unique] = 0
    return unique


@contextmanager
def _attribute(
    graph: Any, key: str, *, list_: list[bytes] | None = None, flag: bool | None = None
) -> Generator[None]:
    """Every op built inside gets attribute ``key``; an outer mark of the same key is kept."""
    value: Any = tensorflow_core("framework.attr_value_pb2").AttrValue()
    if list_ is not None:
        outer = graph._attr_scope_map.get(key)
        value.list.s.extend([*(outer.list.s if outer is not None else ()), *list_])
    else:
        value.b = bool(flag)
    with graph._attr_scope({key: value}):
        yield


def _append(operation: Any, mark: bytes) -> None:
    value: Any = tensorflow_core("framework.attr_value_pb2").AttrValue()
    with suppress(ValueError):
        value.list.s.extend(operation.get_attr(PAIR_ATTR))
    value.list.s.append(mark)
    operation._set_attr(PAIR_ATTR, value)
