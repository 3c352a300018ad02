"""Where the constants of channels that go are kept: in a bias, a batch norm's mean, or weights.

A product without border adds the same number to each of its outputs for a constant channel. With a
border it does not, but the response to a channel that is ``c`` everywhere is ``c`` times that to
one that is 1: another constant channel, which stays, takes the weights over in proportion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphrev.analysis.channels import Product
from graphrev.ir import Node, TensorRef
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.removal import Removal, own_parameter


@dataclass(frozen=True, slots=True)
class Addition:
    """``values`` are added to the whole parameter."""

    parameter: str
    values: Array


@dataclass(frozen=True, slots=True)
class Bias:
    """A ``BiasAdd`` of ``values``, one for each filter that there was, behind a product."""

    product: Product
    values: Array


def find_folds(removal: Removal) -> Iterator[Addition | Bias]:
    """What is to be added to weights, and behind which products a bias."""
    for product in removal.channels.products:
        share = removal.share(product)
        if not share.any():
            continue
        if product.node in removal.carriers:
            yield _carried(removal, product, share, removal.carriers[product.node])
            continue
        known = removal.constants.filters(product)
        assert known is not None
        sums = share @ known.sums
        if sums.any():
            kernel = removal.constants.of(product.kernel)
            assert kernel is not None
            into = _into_vector(removal, product, sums)
            yield into or Bias(product, sums.astype(kernel.dtype))


def _carried(removal: Removal, product: Product, share: Array, place: int) -> Addition:
    """The weights of the channels that go, in proportion, for the one that stays."""
    given = removal.constants.along(product.data, product.data_axis, len(share))
    kernel = removal.constants.of(product.kernel)
    name = own_parameter(removal.channels, product.kernel, product.node)
    assert kernel is not None and name is not None
    rates = share / given[place]
    taken = np.tensordot(kernel.astype(np.float64), rates, (product.in_axis, 0))
    added = np.zeros(kernel.shape)
    where = [slice(None)] * kernel.ndim
    where[product.in_axis] = slice(place, place + 1)
    added[tuple(where)] = np.expand_dims(taken, product.in_axis)
    return Addition(name, added)


def _into_vector(removal: Removal, product: Product, sums: Array) -> Addition | None:
    """The bias or the batch norm's mean behind the product, where it is its only reader's own."""
    graph = removal.channels.graph
    readers = graph.readers.get(product.node, ())
    if len(readers) != 1:
        return None
    node = graph[readers[0]]
    found = _vector_of(removal, node, TensorRef(product.node))
    if found is None:
        return None
    place, sign = found
    name = _own_vector(removal, node, place, len(sums))
    return None if name is None else Addition(name, sign * sums)


def _vector_of(removal: Removal, node: Node, data: TensorRef) -> tuple[int, int] | None:
    if node.op == "BiasAdd" and node.inputs[0] == data:
        return 1, 1
    if node.op in ("Add", "AddV2") and data in node.inputs:
        place = 1 - node.inputs.index(data)
        rank = removal.channels.shapes.dims(data)
        is_last = rank is not None and len(rank) - 1 in removal.channels.axes.get(data, {})
        return (place, 1) if is_last else None
    if node.op.startswith("FusedBatchNorm") and node.inputs[0] == data:
        return (3, -1) if node.attrs.get("is_training", True) is False else None
    return None


def _own_vector(removal: Removal, node: Node, place: int, size: int) -> str | None:
    """The constant or variable that only ``node`` reads, a vector of ``size``."""
    channels = removal.channels
    ref = node.inputs[place]
    value = removal.constants.of(ref)
    if ref not in channels.fixed or value is None or value.shape != (size,):
        return None
    return own_parameter(channels, ref, node.name)
