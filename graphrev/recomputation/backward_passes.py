"""What telling backward passes apart comes down to, whatever is recomputed for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from graphrev.ir.index import GraphIndex
from graphrev.recomputation.facts import Facts


def united(labels: Iterable[int]) -> list[int]:
    """Masks that share no bit, lowest bit first; labels that share one lie in the same mask."""
    masks: list[int] = []
    for label in labels:
        apart = [mask for mask in masks if not mask & label]
        for mask in masks:
            label |= mask if mask & label else 0
        masks = [*apart, label] if label else apart
    return sorted(masks, key=lambda mask: mask & -mask)


def sources_after(
    index: GraphIndex, names: Iterable[str], is_after: Callable[[int], bool]
) -> frozenset[str]:
    """``names`` and what they depend on, as far as ``is_after`` holds for the node ids."""
    seen = {index.ids[name] for name in names}
    pending = list(seen)
    while pending:
        number = pending.pop()
        for source in (*index.data_inputs[number], *index.control_inputs[number]):
            if source not in seen and is_after(source):
                seen.add(source)
                pending.append(source)
    return frozenset(index.names[number] for number in seen)


def following_labels(
    facts: Facts, seeds: Sequence[Iterable[int]], readers: Collection[int]
) -> list[int]:
    """For each node a label whose bit ``k`` says that it is, or follows from, one of ``seeds[k]``.

    It follows from what it reads. What it waits for counts for ``readers`` and for constants alone:
    gradient code lets an op that reads no gradient wait for one, or the constant that it reads. A
    whole pass that waits for another is a pass still.
    """
    index = facts.index
    labels = [0] * len(index.names)
    for bit, members in enumerate(seeds):
        for number in members:
            labels[number] |= 1 << bit
    data, waits = index.data_inputs, index.control_inputs
    for number in index.order:
        label = labels[number]
        for source in data[number]:
            label |= labels[source]
        if waits[number] and (number in readers or is_value_of_nothing(facts, number)):
            for source in waits[number]:
                label |= labels[source]
        labels[number] = label
    return labels


def is_value_of_nothing(facts: Facts, number: int) -> bool:
    """Whether a node computes a value from no input: a constant."""
    return not facts.index.data_inputs[number] and has_value(facts, number)


def has_value(facts: Facts, number: int) -> bool:
    """Whether a node hands anything on, not only word that something is done."""
    return facts.graph[facts.index.names[number]].op != "NoOp"
