"""Tells the backward passes through a region apart.

A graph may be differentiated more than once: two losses with an optimizer each, a generator and a
discriminator. A step that runs one of them must not have to run the others: they may read
placeholders that the step does not feed. So what is recomputed for one backward pass waits for
that pass alone, and each pass gets copies of its own.

A pass is found by what it *starts* from: the gradients that arrive at its readers from above the
region. Two starts belong to one pass when some reader follows from both (the gradient of a sum of
losses). A reader that takes no gradient at all (a comparison in the gradient of a maximum; the
first reader of a constant gradient) is a start itself, and belongs to the pass that first joins
what is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphrev.analysis.order import descendant_labels
from graphrev.ir import TensorRef
from graphrev.passes.recompute.regions import Region
from graphrev.recomputation.backward_passes import (
    following_labels,
    has_value,
    is_value_of_nothing,
    sources_after,
    united,
)
from graphrev.recomputation.facts import METADATA_OPS, Facts


@dataclass(frozen=True, slots=True)
class Use:
    """``reader`` reads ``tensor``, a value of the region."""

    tensor: TensorRef
    reader: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A region's uses: backward for certain, and those of values that leave the region.

    Attributes:
        after: by node id, a label with ``bit`` set if the node comes after a reader of the region.
    """

    region: Region
    inner: tuple[Use, ...]
    leaving: tuple[Use, ...]
    after: list[int]
    bit: int


@dataclass(frozen=True, slots=True)
class BackwardPass:
    """One backward pass through a region.

    Attributes:
        uses: what its readers read.
        incoming: the nodes that deliver the gradient it starts from.
        starts: those nodes, and the readers that take no gradient.
        reached: by node id, a label with ``bit`` set if running the node runs the pass, at least as
            far as one of its starts.
    """

    uses: tuple[Use, ...]
    incoming: tuple[str, ...]
    starts: tuple[str, ...]
    reached: list[int]
    bit: int

    @property
    def is_constant(self) -> bool:
        """Whether no gradient arrives from above the region."""
        readers = {use.reader for use in self.uses}
        return readers.issuperset(self.starts)


@dataclass(frozen=True, slots=True)
class Readers:
    """The backward readers of a region by backward pass."""

    draft: Draft
    passes: tuple[BackwardPass, ...]

    def belongs(self, facts: Facts, number: int, mutator: str) -> bool:
        """Whether an update is computed from a backward pass, and not from another alone.

        One of a variable above the region is computed from what the pass starts from as well.
        """
        chosen = self.passes[number]
        if chosen.reached[facts.index.ids[mutator]] & chosen.bit:
            return True
        others = [p.incoming for place, p in enumerate(self.passes) if place != number]
        own = self._sources(facts, chosen.incoming)
        own = own.difference(*(self._sources(facts, names) for names in others))
        return not own.isdisjoint(self._sources(facts, (mutator,)))

    def _sources(self, facts: Facts, names: Iterable[str]) -> frozenset[str]:
        after, bit = self.draft.after, self.draft.bit
        return sources_after(facts.index, names, lambda node_id: bool(after[node_id] & bit))


@dataclass(frozen=True, slots=True)
class _Starts:
    """The starts of a region, each with a bit: first gradients, then readers that take none."""

    names: tuple[str, ...]
    constant: int
    first_bit: int

    @property
    def whole(self) -> int:
        """The bits of all starts."""
        return ((1 << len(self.names)) - 1) << self.first_bit

    @property
    def gradients(self) -> int:
        """The bits of the gradients."""
        return ((1 << len(self.names) - self.constant) - 1) << self.first_bit

    def of(self, mask: int) -> tuple[str, ...]:
        """The starts whose bits are set."""
        return tuple(n for bit, n in enumerate(self.names) if mask >> self.first_bit >> bit & 1)


def split(facts: Facts, drafts: Sequence[Draft]) -> list[Readers]:
    """The backward passes through each region; together they hold its backward uses."""
    ids = facts.index.ids
    readers = {ids[use.reader] for draft in drafts for use in (*draft.inner, *draft.leaving)}
    tops = [[ids[use.reader] for use in draft.inner] for draft in drafts]
    below = following_labels(facts, tops, readers)
    starts: list[_Starts] = []
    first_bit = 0
    for draft, label in zip(drafts, _bits()):
        starts.append(_starts(facts, draft, below, label, first_bit))
        first_bit += len(starts[-1].names)
    seeds = [[ids[name]] for found in starts for name in found.names]
    labels = following_labels(facts, seeds, readers)
    joins = _joins(facts, starts, labels)
    grouped = [
        list(_grouped(facts, draft, found, labels, joins)) for draft, found in zip(drafts, starts)
    ]
    return _finished(facts, drafts, starts, grouped)


def _bits() -> Iterator[int]:
    bit = 1
    while True:
        yield bit
        bit <<= 1


def _starts(facts: Facts, draft: Draft, below: list[int], bit: int, first_bit: int) -> _Starts:
    gradients: dict[str, None] = {}
    constant: dict[str, None] = {}
    own = set(draft.region.nodes)
    for reader in dict.fromkeys(use.reader for use in draft.inner):
        delivering = list(_delivering(facts, draft, reader, own))
        if not delivering:
            constant[reader] = None
        first = (name for name in delivering if not below[facts.index.ids[name]] & bit)
        gradients.update(dict.fromkeys(first))
    return _Starts((*gradients, *constant), len(constant), first_bit)


def _delivering(facts: Facts, draft: Draft, reader: str, own: set[str]) -> Iterator[str]:
    """What a reader reads, or waits for, that comes after the region.

    A constant that it reads delivers nothing, but may wait for what does.
    """
    index = facts.index
    number = index.ids[reader]
    pending = [*index.data_inputs[number], *index.control_inputs[number]]
    for source in pending:
        name = index.names[source]
        if name in own or facts.graph[name].op in METADATA_OPS or not has_value(facts, source):
            continue
        if is_value_of_nothing(facts, source):
            pending.extend(index.control_inputs[source])
        elif draft.after[source] & draft.bit or name in facts.gradient_side:
            yield name


def _joins(facts: Facts, starts: Sequence[_Starts], labels: list[int]) -> Mapping[int, int]:
    """For the bit of each reader that takes no gradient, the bits that first join it."""
    homes: dict[int, int] = {}
    for found in starts:
        if found.gradients:
            alone = found.whole & ~found.gradients
            homes.update((bit, found.gradients) for bit in _each(alone))
    pending = sum(homes)
    joins: dict[int, int] = {}
    for node_id in facts.index.order if pending else ():
        for bit in _each(labels[node_id] & pending):
            if labels[node_id] & homes[bit]:
                joins[bit] = labels[node_id] & homes[bit]
                pending &= ~bit
    return joins


def _each(mask: int) -> Iterator[int]:
    while mask:
        yield mask & -mask
        mask &= mask - 1


def _grouped(
    facts: Facts,
    draft: Draft,
    starts: _Starts,
    labels: list[int],
    joins: Mapping[int, int],
) -> Iterator[tuple[int, tuple[Use, ...]]]:
    """The masks of the starts of each pass, with its uses."""
    ids = facts.index.ids
    late = (use for use in draft.leaving if labels[ids[use.reader]] & starts.gradients)
    uses = tuple(dict.fromkeys((*draft.inner, *late)))
    found = {use.reader: labels[ids[use.reader]] & starts.whole for use in uses}
    joined = (bit | joins[bit] for bit in _each(starts.whole) if bit in joins)
    for mask in united((*found.values(), *joined)):
        yield mask, tuple(use for use in uses if found[use.reader] & mask)


def _finished(
    facts: Facts,
    drafts: Sequence[Draft],
    starts: Sequence[_Starts],
    grouped: Sequence[Sequence[tuple[int, tuple[Use, ...]]]],
) -> list[Readers]:
    ids, seeds = facts.index.ids, list[list[int]]()
    for found, groups in zip(starts, grouped):
        for mask, uses in groups:
            seeds.append([ids[name] for name in found.of(mask)])
            seeds.append([ids[use.reader] for use in uses])
    labels = descendant_labels(facts.index, seeds, control=True)
    bits, result = _bits(), list[Readers]()
    for draft, found, groups in zip(drafts, starts, grouped):
        passes: list[BackwardPass] = []
        for mask, uses in groups:
            reached, behind = next(bits), next(bits)
            gradients = found.of(mask & found.gradients)
            # Gradient code may let one reader wait for another; what waits so delivers nothing.
            incoming = tuple(name for name in gradients if not labels[ids[name]] & behind)
            incoming = incoming or draft.region.nodes[-1:]
            passes.append(BackwardPass(uses, incoming, found.of(mask), labels, reached))
        result.append(Readers(draft, tuple(passes)))
    return result
