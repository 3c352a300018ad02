"""Makes two graphs draw the same numbers where one has a random op and the other its twin.

A rewrite may have replaced a random op by a twin that draws from a seed of its own. The twin is put
into a private copy of the first graph too, and both are given one fixed seed. Nothing has to be
fetched for that, so the op may lie in a branch that is not taken.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from graphrev.io.constants import vector
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.ir.marks import kernel_of, replaced_by

_SEED = MappingProxyType({"dtype": DType.INT32})


def drawing_alike(before: Graph, after: Graph) -> tuple[Graph, dict[TensorRef, Any]]:
    """``before`` with the twins of ``after``, and what to feed to ``after`` as their seeds."""
    nodes = dict(before.nodes)
    seeds: dict[TensorRef, Any] = {}
    for node in after.nodes.values():
        original = replaced_by(node)
        if original is None or kernel_of(node) is not None or original.node not in before:
            continue
        numbers = (20, zlib.crc32(original.node.encode()) & 0x7FFFFFFF)
        name = f"{original.node}/graphrev_verification_seed"
        nodes[name] = Node(name, "Const", attrs=_SEED | {"value": vector(DType.INT32, numbers)})
        random = before[original.node]
        nodes[random.name] = random.evolve(
            op=node.op, inputs=(random.inputs[0], TensorRef(name)), attrs=node.attrs, extra=b""
        )
        seeds[node.inputs[1]] = numbers
    return replace(before, nodes=MappingProxyType(nodes)), seeds
