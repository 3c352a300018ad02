"""How far the streams that a rewrite rebuilds are from the originals, block by block."""

from __future__ import annotations

from typing import Any

from graphrev.ir import DType, Graph, TensorRef
from graphrev.verification.choices import tensor_named
from graphrev.verification.numbers import GROWTH, relative
from graphrev.verification.result import Drift

_EPSILONS_PER_HALF = 2


def rebuilt_streams(after: Graph) -> list[tuple[str, TensorRef, TensorRef]]:
    """``(block, original stream, rebuilt stream)`` for every stream the rewrite rebuilds."""
    found: list[tuple[str, TensorRef, TensorRef]] = []
    for name, node in after.nodes.items():
        stream, block = node.attrs.get("_graphrev_stream"), node.attrs.get("_graphrev_block")
        if isinstance(stream, bytes) and isinstance(block, bytes):
            original = tensor_named(stream.decode())
            if original.node in after:
                found.append((block.decode(), original, TensorRef(name)))
    return found


def drifts_of(
    after: Graph, rebuilt: list[tuple[str, TensorRef, TensorRef]], values: list[Any]
) -> tuple[Drift, ...]:
    """Per block the worst rebuilt stream; what may be rises with the streams rebuilt."""
    worst: dict[str, Drift] = {}
    for number, (block, original, ref) in enumerate(rebuilt):
        error, _ = relative(values[2 * number], values[2 * number + 1])
        dtype = after[ref.node].attrs.get("T")
        epsilon = dtype.epsilon if isinstance(dtype, DType) else None
        known = worst.get(block, Drift(block, 0.0, str(original), 0, 0.0))
        streams = known.streams + 1
        allowed = GROWTH * _EPSILONS_PER_HALF * streams * (epsilon or 0.0)
        larger = error > known.error
        stream = str(original) if larger else known.stream
        worst[block] = Drift(block, max(error, known.error), stream, streams, allowed)
    return tuple(worst.values())
