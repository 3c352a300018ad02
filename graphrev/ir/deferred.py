"""The node that makes a region recompute itself when somebody differentiates it later.

It is an ``IdentityN`` that stands between a region's outputs and their readers, and it reads
``[*outputs, *captures, *gated]``: the region's outputs, everything the region reads from outside
(constants that take no gradient need not be listed), and last the tensors the region is computed
from. The region is what lies between; no name is stored, so the node survives renaming and import
under a prefix. Its attributes:

* ``_gradient_op_type``: :data:`GRADIENT`, the gradient that ``import graphrev`` registers.
* ``_graphrev_region``, list(int): the number of outputs, the number of gated inputs, and 1 where
  the stream that is added to the output is kept instead of rebuilt.
* ``_graphrev_block``, string: names the block in scopes and reports.

Where the only reader of a single output is a sum, ``y = p + output``, the gradient also rebuilds
``p`` from ``y``: that is one half of a reversible pair.
"""

from __future__ import annotations

from graphrev.arrival import GRADIENT
from graphrev.ir.node import Node

__all__ = [
    "BLOCK_ATTR",
    "CLONE_ATTR",
    "DEFERRED_OP",
    "GRADIENT",
    "GRADIENT_ATTR",
    "REGION_ATTR",
    "is_deferred",
]

GRADIENT_ATTR = "_gradient_op_type"
REGION_ATTR = "_graphrev_region"
BLOCK_ATTR = "_graphrev_block"
"""Names the block that a node was added for."""
CLONE_ATTR = "_graphrev_clone_of"
"""Names the original of a recomputed copy."""
DEFERRED_OP = "IdentityN"


def is_deferred(node: Node) -> bool:
    """Whether ``node`` carries the deferred gradient."""
    return node.op == DEFERRED_OP and node.attrs.get(GRADIENT_ATTR) == GRADIENT.encode()
