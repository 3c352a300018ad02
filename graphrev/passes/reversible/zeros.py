"""Zeros that gradient code makes in the shape of a forward value.

The gradient of a ``cond`` needs zeros for the branch that was not taken. ``tf.gradients`` makes
them from the *shape* of the forward value, ``Switch`` -> ``Shape`` -> ``Fill`` -> ``Merge``
(python/ops/control_flow_state.py, "ZerosLikeOutsideLoop"), and nothing there waits for a gradient:
all of them are made in the forward pass, as large as the activations that the pass frees. Made from
the recomputed value, whose shape is the same, they come into being when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from graphrev.ir import TensorRef
from graphrev.passes.reversible.surroundings import METADATA_OPS, Surroundings

_MOST = 32
"""Nodes that are looked at behind a reader."""


def zero_makers(
    around: Surroundings, name: str, incoming: frozenset[str], is_backward: Callable[[str], bool]
) -> Iterator[tuple[TensorRef, str]]:
    """Outputs of ``name`` with the switches that read them for their shape, going backward.

    Args:
        incoming: what the incoming gradient is computed from, which copies wait for; zeros that go
            in there cannot be made from a copy.
        is_backward: whether a node is computed from the incoming gradient.
    """
    for reader in around.graph.readers.get(name, ()):
        node = around.graph[reader]
        if node.op != "Switch" or is_backward(reader):
            continue
        value = node.inputs[0]
        if value.node == name and _tells_a_shape(around, reader, incoming, is_backward):
            yield value, reader


def _tells_a_shape(
    around: Surroundings, switch: str, incoming: frozenset[str], is_backward: Callable[[str], bool]
) -> bool:
    """Whether a shape is all that is read, and all that is made of it goes into a backward pass."""
    graph = around.graph
    readers = graph.readers.get(switch, ())
    for reader in readers:
        signals = graph[reader].op == "Identity" and not graph.readers.get(reader)
        if graph[reader].op not in METADATA_OPS and not signals:
            return False
    seen, pending = set(readers), list(readers)
    while pending:
        name = pending.pop()
        if name in incoming:
            return False
        if is_backward(name):
            continue
        behind = (*graph.readers.get(name, ()), *graph.control_readers.get(name, ()))
        if not behind or len(seen) > _MOST:
            return False
        fresh = dict.fromkeys(reader for reader in behind if reader not in seen)
        seen.update(fresh)
        pending.extend(fresh)
    return bool(readers)
