"""Which kernels share channels, so that these are dropped from all of them or from none.

A residual sum makes the filters of all its branches the same channels, a concatenation puts those
of several kernels side by side, and a depthwise kernel has a filter for each channel of the one
before. Only a channel that every kernel drops can be removed afterwards (the ``shrink`` pass).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphrev.analysis.channels import Atoms, Channels, find_channels, origin
from graphrev.analysis.shapes import infer_shapes
from graphrev.ir import Graph, TensorRef
from graphrev.passes.mask.structure import Coupling, Structure
from graphrev.passes.mask.trace import Kernel
from graphrev.pipeline import Code, Rejection
from graphrev.pipeline.channel_codes import CHANNEL_CODES
from graphrev.recomputation.facts import Facts


@dataclass(frozen=True, slots=True)
class Coupled:
    """How a kernel is dropped channel by channel."""

    coupling: Coupling
    structure: Structure


def couple(
    graph: Graph, kernels: Sequence[Kernel]
) -> tuple[dict[str, Coupled], tuple[Rejection, ...]]:
    """The coupling of each kernel by name, and why others cannot lose channels.

    What stands in the way in a training graph alone (dropout, gradients) does not count.
    """
    backward = Facts.of(graph).gradient_side
    channels = find_channels(graph, infer_shapes(graph), skip=backward)
    makers = dict(_makers(channels))
    rejections: dict[str, Rejection] = {}
    filters: dict[str, Atoms] = {}
    for kernel in kernels:
        found = makers.get(kernel.name)
        roots = None if found is None else channels.of(TensorRef(kernel.name), found)
        if roots is None:
            reason = f"Kernel '{kernel.name}' has a single filter, or none that can be told apart."
            rejections[kernel.name] = Rejection(Code.CHANNELS_KEPT, reason, (kernel.name,))
            continue
        filters[kernel.name] = roots
        if not backward and (stopped := _stopped(channels, kernel.name, roots)):
            rejections[kernel.name] = stopped
    strangers = {
        int(root): name
        for name, axis in makers.items()
        if name not in filters or name in rejections
        for root in _roots(channels, name, axis)
    }
    groups = _groups(filters)
    for members in groups:
        _reject_torn(members, filters, strangers, rejections)
    whole = [[name for name in group if name not in rejections] for group in groups]
    dims = {kernel.name: tuple(dim or 0 for dim in kernel.dims or ()) for kernel in kernels}
    coupled: dict[str, Coupled] = {}
    for names in filter(None, whole):
        numbers = np.unique(np.concatenate([filters[name] for name in names]))
        for name in names:
            places = tuple(int(place) for place in np.searchsorted(numbers, filters[name]))
            coupling = Coupling(f"channels of {names[0]}", len(numbers), places)
            coupled[name] = Coupled(coupling, _filters(dims[name], makers[name]))
    return coupled, tuple(rejections.values())


def in_multiples(
    wanted: Mapping[str, float], coupled: Mapping[str, Coupled], multiple: int
) -> Mapping[str, float]:
    """The sparsities at which a multiple of channels stays: the given ones, or higher.

    Args:
        wanted: by kernel.
        multiple: what the number of channels that stay is rounded down to, where there are as many.
    """
    if multiple == 1:
        return wanted
    found = dict(wanted)
    for name, one in coupled.items():
        channels = one.coupling.channels
        kept = channels - round(channels * wanted[name])
        if kept == channels:
            continue
        if channels > multiple:
            found[name] = 1.0 - max(kept // multiple * multiple, multiple) / channels
        else:
            found[name] = 0.0
    return found


def _makers(channels: Channels) -> Iterator[tuple[str, int]]:
    """The kernels with the axis of their filters, as the first op that multiplies by each has it.

    A gradient multiplies by the same kernel the other way round, and comes later.
    """
    seen: set[str] = set()
    uses = [(p.node, p.kernel, p.out_axis) for p in channels.products]
    uses += [(one.node, one.kernel, 2) for one in channels.depthwise]
    index = channels.graph.index
    places = {number: place for place, number in enumerate(index.order)}
    for _, kernel, axis in sorted(uses, key=lambda use: places[index.ids[use[0]]]):
        name = origin(channels.graph, kernel.node)
        if name not in seen:
            seen.add(name)
            yield name, axis


def _roots(channels: Channels, name: str, axis: int) -> Atoms:
    roots = channels.of(TensorRef(name), axis)
    return np.zeros(0, np.int64) if roots is None else roots


def _stopped(channels: Channels, name: str, roots: Atoms) -> Rejection | None:
    for root in roots:
        block = channels.blocks.get(int(root))
        if block is not None:
            reason = f"The channels of kernel '{name}' have to stay: {block.reason}."
            return Rejection(CHANNEL_CODES[block.kind], reason, (name, block.node))
    return None


def _groups(filters: Mapping[str, Atoms]) -> list[list[str]]:
    """The kernels that share channels, directly or through others, in graph order."""
    home: dict[int, int] = {}
    groups: dict[int, list[str]] = {}
    for number, (name, roots) in enumerate(filters.items()):
        joined = {home[int(root)] for root in roots if int(root) in home}
        names = [one for place in sorted(joined) for one in groups.pop(place)]
        groups[number] = [*names, name]
        for one in groups[number]:
            home.update((int(root), number) for root in filters[one])
    return list(groups.values())


def _reject_torn(
    members: Sequence[str],
    filters: Mapping[str, Atoms],
    strangers: Mapping[int, str],
    rejections: dict[str, Rejection],
) -> None:
    """A group of which one kernel is not masked keeps all its channels."""
    found = ((n, strangers[int(r)]) for n in members for r in filters[n] if int(r) in strangers)
    torn = next(found, None)
    if torn is None:
        return
    for name in members:
        if name not in rejections:
            reason = f"Kernel '{name}' shares channels with '{torn[1]}', which is not masked."
            rejections[name] = Rejection(Code.CHANNELS_COUPLED, reason, (name, torn[1]))


def _filters(dims: tuple[int, ...], axis: int) -> Structure:
    view = (math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :]))
    return Structure("blocks", view, (view[0], 1, view[2]))
