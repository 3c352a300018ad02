"""Which channels go.

A channel may go when every product that sums over it either multiplies it by zeros or knows the
one number it holds, and nothing blocks it. That number must not get lost: it is folded into what
follows (:mod:`graphrev.passes.shrink.folding`), or one channel stays to carry the others' share.
Further ones stay because no layer may be left without any, and to round their number up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from graphrev.analysis.channels import Atoms, Channels, Product
from graphrev.ir import Graph, TensorRef
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.known import Constants

Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
_ROUNDS = 4
"""A channel that only channels that go make use of goes too; so often this is looked for."""
_FAINTEST = 0.05
"""A carrier holds at least this share of the largest number it stands in for."""


@dataclass(eq=False)
class Removal:
    """The channels that go, and why each near miss stays.

    Attributes:
        gone: for each root whether it goes.
        needed: by root, the product that needs the channel.
        kept: by root, why a channel that could go stays.
        carriers: by product, the place of the channel that carries the share of those that go.
    """

    channels: Channels
    constants: Constants
    gone: Flags
    needed: dict[int, str] = field(default_factory=dict[int, str])
    kept: dict[int, str] = field(default_factory=dict[int, str])
    carriers: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def carrying(self) -> int:
        """How many channels carry the share of others."""
        products = [p for p in self.channels.products if p.node in self.carriers]
        found = [self.channels.of(p.kernel, p.in_axis) for p in products]
        places = [self.carriers[p.node] for p in products]
        return len({int(roots[at]) for roots, at in zip(found, places) if roots is not None})

    def places(self, ref: TensorRef, axis: int) -> Flags | None:
        """Along an axis, which places go; ``None`` where the axis is not followed."""
        roots = self.channels.of(ref, axis)
        return None if roots is None else self.gone[roots]

    def stay(self, roots: Atoms, why: str) -> None:
        """Lets channels stay after all."""
        for root in roots:
            if self.gone[root]:
                self.gone[root] = False
                self.kept[int(root)] = why

    def share(self, product: Product) -> Array:
        """The number in each channel that goes and that the product uses; 0 for all others."""
        known = self.constants.filters(product)
        roots = self.channels.of(product.kernel, product.in_axis)
        if known is None or roots is None:
            return np.zeros(0)
        given = self.constants.along(product.data, product.data_axis, len(roots))
        counts = self.gone[roots] & known.used.any(1) & np.isfinite(given)
        return np.where(counts, given, 0.0)


def find_removal(channels: Channels, constants: Constants, multiple: int) -> Removal:
    """Decides.

    Args:
        multiple: each layer's number of channels is rounded up to one of this, as far as it had
            that many.
    """
    removal = Removal(channels, constants, np.zeros(len(channels.roots), np.bool_))
    candidates = _candidates(channels)
    for _ in range(_ROUNDS):
        needed = dict(_needed(removal))
        gone = candidates.copy()
        gone[list(needed)] = False
        removal.needed = needed
        if np.array_equal(gone, removal.gone):
            break
        removal.gone = gone
    for product in channels.products:
        _keep_carrier(removal, product)
    _keep_some(removal)
    if multiple > 1:
        _round_up(removal, multiple)
    return removal


def _candidates(channels: Channels) -> Flags:
    found = np.zeros(len(channels.roots), np.bool_)
    for product in channels.products:
        for axis in (product.in_axis, product.out_axis):
            roots = channels.of(product.kernel, axis)
            if roots is not None:
                found[roots] = True
    found[list(channels.blocks)] = False
    return found


def _needed(removal: Removal) -> Iterator[tuple[int, str]]:
    """The channels that are not constant and used for a filter that stays."""
    for product in removal.channels.products:
        roots = removal.channels.of(product.kernel, product.in_axis)
        if roots is None:
            continue
        known = removal.constants.filters(product)
        if known is None:
            yield from ((int(root), product.node) for root in roots)
            continue
        made = removal.places(product.kernel, product.out_axis)
        used = known.used if made is None else known.used & ~made
        given = removal.constants.along(product.data, product.data_axis, len(roots))
        for root in roots[used.any(1) & ~np.isfinite(given)]:
            yield int(root), product.node


def _keep_carrier(removal: Removal, product: Product) -> None:
    """Where a border gets in the way of folding, one constant channel stands in for the others."""
    share = removal.share(product)
    padded = removal.constants.is_padded(product)
    if not share.any() or (not padded and takes_bias(removal.channels, product)):
        return
    roots = removal.channels.of(product.kernel, product.in_axis)
    assert roots is not None
    if own_parameter(removal.channels, product.kernel, product.node) is None:
        why = f"'{product.node}' uses the constant they hold, and shares or computes its kernel"
        removal.stay(roots[share != 0], why)
        return
    given = removal.constants.along(product.data, product.data_axis, len(roots))
    loudest = np.abs(share).max()
    held = np.where(removal.gone[roots] | ~np.isfinite(given), 0.0, np.abs(given))
    place = int(held.argmax())
    if held[place] < _FAINTEST * loudest:
        place = int(np.abs(share).argmax())
        why = f"it carries the constants of the others through the border of '{product.node}'"
        removal.stay(roots[place : place + 1], why)
    removal.carriers[product.node] = place


def takes_bias(channels: Channels, product: Product) -> bool:
    """Whether a vector can be added to the product's output by a ``BiasAdd``.

    What the product puts out is then no longer what it was, so it must not be a result.
    """
    if product.node in channels.results:
        return False
    dims = channels.shapes.dims(TensorRef(product.node))
    node = channels.graph[product.node]
    if dims is None:
        return False
    return product.axis == len(dims) - 1 or (node.op == "Conv2D" and product.axis == 1)


def own_parameter(channels: Channels, ref: TensorRef, reader: str) -> str | None:
    """The constant or variable that ``reader`` reads as ``ref`` and nothing else does.

    What only saves or starts a variable does not count. ``None`` where there is none.
    """
    graph, name = channels.graph, ref.node
    while True:
        if {n for n in graph.readers.get(name, ()) if not _is_servant(graph, n)} != {reader}:
            return None
        node = graph[name]
        if node.op not in _READS:
            return name if name in channels.parameters else None
        name, reader = node.inputs[0].node, name


_READS = frozenset({"Identity", "ReadVariableOp"})
_SERVANTS = frozenset(
    "Assign AssignVariableOp SaveV2 SaveSlices IsVariableInitialized VarIsInitializedOp "
    "DestroyResourceOp DisableCopyOnRead".split()
)


def _is_servant(graph: Graph, name: str) -> bool:
    """Whether a node saves or starts what it reads, or reads it for such nodes alone."""
    node = graph[name]
    if node.op in _READS:
        return all(graph[reader].op in _SERVANTS for reader in graph.readers.get(name, ()))
    return node.op in _SERVANTS


def _keep_some(removal: Removal) -> None:
    """No tensor may be left without channels."""
    for axes in removal.channels.axes.values():
        for atoms in axes.values():
            roots = removal.channels.roots[atoms]
            if removal.gone[roots].all():
                removal.stay(roots[:1], "no layer is left without channels")


def _round_up(removal: Removal, multiple: int) -> None:
    why = f"the number of channels is rounded up to a multiple of {multiple}"
    for product in removal.channels.products:
        roots = removal.channels.of(product.kernel, product.out_axis)
        if roots is None:
            continue
        gone = np.flatnonzero(removal.gone[roots])
        missing = -(len(roots) - len(gone)) % multiple
        removal.stay(roots[gone[:missing]], why)
