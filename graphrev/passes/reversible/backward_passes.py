"""Tells the backward passes through a chain apart.

A graph may be differentiated more than once: two losses with an optimizer each, a generator and a
discriminator, a gradient penalty. A step that runs one of them must not have to run the others:
they may read placeholders that the step does not feed. So what is recomputed for one backward pass
waits for that pass alone, and each pass gets copies of its own.

A pass is found by what it starts from: the gradients that arrive at the chain's last half that it
reads. Two starts belong to one pass when some reader depends on both (the gradient of a sum of
losses, of an auxiliary head half-way). A reader that depends on no start found so far begins a pass
of its own, further up in the chain: hence the rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphrev.analysis.order import descendant_labels
from graphrev.ir import Graph, TensorRef
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.region import Region
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.recomputation import backward_passes as recomputation


@dataclass(frozen=True, slots=True)
class Use:
    """``reader`` reads ``tensor``, a value of half ``half`` (a place in the chain)."""

    half: int
    tensor: TensorRef
    reader: str
    stream: TensorRef | None
    """The stream ``tensor`` is an alias of; ``None`` for a value inside the region."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chain with its regions, one per half."""

    chain: Chain
    regions: tuple[Region, ...]

    @property
    def forward(self) -> frozenset[str]:
        """The chain's own nodes: regions and sums."""
        inside = {name for region in self.regions for name in region.nodes}
        return frozenset(inside | {half.y.node for half in self.chain.halves})


@dataclass(frozen=True, slots=True)
class After:
    """Nodes that depend by data on a chain's last sum, and on its other final stream."""

    last: list[int]
    last_bit: int
    other: list[int]
    other_bit: int

    def holds(self, node_id: int, *, last_only: bool) -> bool:
        """Whether a node comes after the chain."""
        if self.last[node_id] & self.last_bit:
            return True
        return not last_only and bool(self.other[node_id] & self.other_bit)


@dataclass(frozen=True, slots=True)
class BackwardPass:
    """One backward pass through a chain.

    Attributes:
        uses: what its readers read.
        incoming: the nodes that deliver the gradient it starts from.
        labels: lists of labels by node id, each with the mask of bits that say: depends on a start.
    """

    uses: tuple[Use, ...]
    incoming: tuple[str, ...]
    labels: tuple[tuple[list[int], int], ...] = ()

    def reaches(self, node_id: int) -> bool:
        """Whether running the node runs the pass, at least as far as one of its starts."""
        return any(labels[node_id] & mask for labels, mask in self.labels)


@dataclass(frozen=True, slots=True)
class _Round:
    """The starts of one round: their names and bits by chain, and every node's label."""

    starts: Mapping[int, tuple[str, ...]]
    first_bit: Mapping[int, int]
    labels: list[int]

    def of(self, number: int, node_id: int) -> int:
        """The label of a node, restricted to the starts of a chain."""
        count = len(self.starts.get(number, ()))
        if not count:
            return 0
        return self.labels[node_id] >> self.first_bit[number] & ((1 << count) - 1)


def split(
    around: Surroundings,
    batch: Sequence[Candidate],
    uses: Sequence[Sequence[Use]],
    after: Sequence[After],
) -> list[tuple[BackwardPass, ...]]:
    """For each chain its backward passes; together they hold all of its uses."""
    ids = around.index.ids
    remaining = {number: tuple(found) for number, found in enumerate(uses) if found}
    rounds: list[_Round] = []
    starts: dict[tuple[int, str], tuple[str, ...]] = {}
    while remaining:
        found = _starts(around, batch, remaining, after)
        starts.update(found)
        rounds.append(_round(around, batch, remaining, found))
        remaining = {
            number: left
            for number, before in remaining.items()
            if (left := tuple(u for u in before if not rounds[-1].of(number, ids[u.reader])))
        }
    lasts = [item.chain.outputs[1].node for item in batch]
    return [
        tuple(_passes(around, number, lasts[number], found, rounds, starts))
        for number, found in enumerate(uses)
    ]


def sources_after(around: Surroundings, after: After, names: Iterable[str]) -> frozenset[str]:
    """``names`` and what they depend on, as far as it comes after the chain."""
    return recomputation.sources_after(
        around.index, names, lambda number: after.holds(number, last_only=False)
    )


def top_readers(uses: Iterable[Use]) -> tuple[str, ...]:
    """The readers of the last half that has any."""
    uses = tuple(uses)
    place = max((use.half for use in uses), default=-1)
    return tuple(dict.fromkeys(use.reader for use in uses if use.half == place))


def _round(
    around: Surroundings,
    batch: Sequence[Candidate],
    remaining: Mapping[int, Sequence[Use]],
    found: Mapping[tuple[int, str], tuple[str, ...]],
) -> _Round:
    own: dict[int, dict[str, None]] = {number: {} for number in remaining}
    seeded: dict[tuple[int, str], dict[str, None]] = {}
    for (number, reader), names in found.items():
        own[number].update(dict.fromkeys(names))
        for name in names:
            # What comes after the last sum is no sign of a pass: there the reader stands for it.
            constant = name == batch[number].chain.outputs[1].node
            seeded.setdefault((number, name), {})[reader if constant else name] = None
    seeds: list[list[int]] = []
    first_bit: dict[int, int] = {}
    for number, names in own.items():
        first_bit[number] = len(seeds)
        seeds.extend([around.index.ids[n] for n in seeded[number, name]] for name in names)
    labels = descendant_labels(around.index, seeds, control=True)
    return _Round({number: tuple(names) for number, names in own.items()}, first_bit, labels)


def _starts(
    around: Surroundings,
    batch: Sequence[Candidate],
    remaining: Mapping[int, Sequence[Use]],
    after: Sequence[After],
) -> dict[tuple[int, str], tuple[str, ...]]:
    """By chain and reader of the chain's last half in question: where its gradient comes from.

    A gradient that is a constant comes from nowhere; then it is the chain's last sum that the
    pass waits for.
    """
    ids = around.index.ids
    tops = {number: top_readers(uses) for number, uses in remaining.items()}
    seeds = [[ids[name] for name in top] for top in tops.values()]
    below = descendant_labels(around.index, seeds, control=True)
    found: dict[tuple[int, str], tuple[str, ...]] = {}
    for place, (number, top) in enumerate(tops.items()):
        for reader in top:
            delivering = tuple(_delivering(around, batch[number], reader, after[number]))
            first = tuple(name for name in delivering if not below[ids[name]] >> place & 1)
            constant = () if delivering else (batch[number].chain.outputs[1].node,)
            found[number, reader] = first or constant
    return found


def _delivering(around: Surroundings, item: Candidate, reader: str, after: After) -> Iterable[str]:
    """The inputs of a reader that come after the chain."""
    graph: Graph = around.graph
    streams = {ref.node for ref in item.chain.streams}
    for name in dict.fromkeys(ref.node for ref in graph[reader].inputs):
        if name in item.forward or name in streams:
            continue
        if after.holds(around.index.ids[name], last_only=False) or name in around.gradient_side:
            yield name


def _passes(
    around: Surroundings,
    number: int,
    last: str,
    uses: Sequence[Use],
    rounds: Sequence[_Round],
    starts: Mapping[tuple[int, str], tuple[str, ...]],
) -> Iterable[BackwardPass]:
    """The uses of a chain by pass: two starts that a reader depends on belong together."""
    labels = {use.reader: _whole_label(around, number, use.reader, rounds) for use in uses}
    for mask in recomputation.united(labels.values()):
        own = tuple(use for use in uses if labels[use.reader] & mask)
        found = dict.fromkeys(n for top in top_readers(own) for n in starts.get((number, top), ()))
        delivered = tuple(name for name in found if name != last) or (last,)
        yield BackwardPass(own, delivered, tuple(_by_round(number, mask, rounds)))


def _whole_label(around: Surroundings, number: int, reader: str, rounds: Sequence[_Round]) -> int:
    label, shift = 0, 0
    for found in rounds:
        label |= found.of(number, around.index.ids[reader]) << shift
        shift += len(found.starts.get(number, ()))
    return label


def _by_round(number: int, mask: int, rounds: Sequence[_Round]) -> Iterable[tuple[list[int], int]]:
    for found in rounds:
        count = len(found.starts.get(number, ()))
        if count and mask & ((1 << count) - 1):
            yield found.labels, (mask & ((1 << count) - 1)) << found.first_bit[number]
        mask >>= count
