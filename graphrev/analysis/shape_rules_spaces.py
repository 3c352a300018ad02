"""Output shapes of ops that move blocks of space into the batch and back.

That is how TensorFlow 1 dilates a convolution (``with_space_to_batch`` in python/ops/nn_ops.py;
core/ops/array_ops.cc, "SpaceToBatchShapeHelper"). The batch may be unknown: what was multiplied by
the blocks is divided by them again.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphrev.analysis.dims import Dims, product, quotient, total
from graphrev.analysis.shape_inputs import Inputs
from graphrev.ir import Node


def space_to_batch(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """Pads the axes behind the batch, then cuts each into blocks."""
    dims, blocks, widths = _operands(known, node)
    if dims is None:
        return (None,)
    inner = dims[1 : 1 + len(blocks)]
    wide = [total((dim, sum(pair))) for dim, pair in zip(inner, widths)]
    space = [quotient((dim,), (block,)) for dim, block in zip(wide, blocks)]
    return ((product((dims[0], *blocks)), *space, *dims[1 + len(blocks) :]),)


def batch_to_space(known: Inputs, node: Node) -> tuple[Dims, ...]:
    """Puts the blocks back and crops."""
    dims, blocks, widths = _operands(known, node)
    if dims is None:
        return (None,)
    inner = dims[1 : 1 + len(blocks)]
    wide = [product((dim, block)) for dim, block in zip(inner, blocks)]
    space = [total((dim, -sum(pair))) for dim, pair in zip(wide, widths)]
    return ((quotient((dims[0],), blocks), *space, *dims[1 + len(blocks) :]),)


def _operands(known: Inputs, node: Node) -> tuple[Dims, Sequence[int], Sequence[tuple[int, int]]]:
    """The input's shape, the size of a block, and what is padded or cropped along each axis."""
    dims, blocks, flat = known.dims(node), known.numbers(node, 1), known.numbers(node, 2)
    if dims is None or blocks is None or flat is None:
        return None, (), ()
    fits = len(flat) == 2 * len(blocks) and len(dims) > len(blocks)
    if not fits or min(blocks, default=1) < 1:
        return None, (), ()
    return dims, blocks, list(zip(flat[::2], flat[1::2]))
