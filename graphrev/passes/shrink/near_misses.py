"""Channels that are all zero and stay nevertheless, with the node that stops them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graphrev.analysis.channels import Atoms, Product, origin
from graphrev.passes.shrink.removal import Removal
from graphrev.pipeline import Code, Rejection
from graphrev.pipeline.channel_codes import CHANNEL_CODES


def find_near_misses(removal: Removal) -> Iterator[Rejection]:
    """One rejection for each kernel, side and obstacle."""
    for product in removal.channels.products:
        known = removal.constants.filters(product)
        if known is None:
            continue
        filters = removal.channels.of(product.kernel, product.out_axis)
        inputs = removal.channels.of(product.kernel, product.in_axis)
        if filters is not None:
            yield from _staying(removal, product, "filters", filters[~known.used.any(0)])
        if inputs is not None:
            yield from _staying(removal, product, "input channels", inputs[~known.used.any(1)])


def _staying(removal: Removal, product: Product, what: str, roots: Atoms) -> Iterator[Rejection]:
    found: dict[tuple[Code, str, str], int] = {}
    for root in roots[~removal.gone[roots]]:
        why = _obstacle(removal, int(root), product)
        found[why] = found.get(why, 0) + 1
    kernel = origin(removal.channels.graph, product.kernel.node)
    for (code, node, why), count in found.items():
        reason = f"{count} {what} of '{kernel}' are zero and stay: {why}."
        yield Rejection(code, reason, tuple(dict.fromkeys((node, product.node))))


def _obstacle(removal: Removal, root: int, product: Product) -> tuple[Code, str, str]:
    block = removal.channels.blocks.get(root)
    if block is not None:
        return CHANNEL_CODES[block.kind], block.node, block.reason
    if root in removal.kept:
        return Code.CHANNELS_KEPT, product.node, removal.kept[root]
    user = removal.needed.get(root, product.node)
    why = f"'{user}' uses what the same channels hold elsewhere, or as they pass a border"
    return Code.CHANNELS_COUPLED, user, why


def removed_channels(removal: Removal) -> int:
    """How many channels go; coupled ones count once."""
    return int(np.count_nonzero(removal.gone))
