"""Who reads the values of a chain, and which of those readers belong to the backward pass.

A reader outside the chain either belongs to the forward pass (a summary, an auxiliary head, a
batch-norm update, a skip that a later layer takes) and keeps the original value, or it is a
gradient op and is to read the recomputed one. Structure decides:

* A backward reader comes *after* the chain: it depends by data on the chain's last sum, or, for
  every half but the last, on the other final stream. (The last half's own side readers depend on
  that other stream too, so for the last half only the last sum counts; where its incoming gradient
  is a constant, as for a linear loss, ops that only gradient code creates are taken instead.)
* A late skip comes after the chain as well, but the incoming gradient depends on *it*. With R the
  candidates of the last half that has any: a candidate of an earlier half that R depends on is
  forward; and so is a candidate in R that all the others depend on, unless it is a gradient op.

Both are decided for all chains at once by bit labels, so the cost is linear in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.order import ancestor_labels, descendant_labels
from graphrev.ir import TensorRef
from graphrev.passes.reversible.backward_passes import (
    After,
    BackwardPass,
    Candidate,
    Use,
    split,
    top_readers,
)
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, METADATA_OPS, Surroundings

BATCH = 256
"""Chains whose labels are computed together: a label is an integer of this many bits, or two."""


@dataclass(frozen=True, slots=True)
class Readers:
    """The backward readers of a chain, all of them and by backward pass.

    Attributes:
        after: what comes after the chain.
    """

    uses: tuple[Use, ...]
    passes: tuple[BackwardPass, ...]
    after: After


def backward_readers(around: Surroundings, candidates: Sequence[Candidate]) -> list[Readers]:
    """For each chain its backward readers, in graph order of the values they read."""
    found: list[Readers] = []
    for start in range(0, len(candidates), BATCH):
        found.extend(_batch(around, candidates[start : start + BATCH]))
    return found


def _batch(around: Surroundings, batch: Sequence[Candidate]) -> Iterator[Readers]:
    after = _after_labels(around, batch)
    kept = [
        [use for use in _uses(around, item) if _is_after(around, item, use, after[number])]
        for number, item in enumerate(batch)
    ]
    kept = _without_late_skips(around, kept)
    for uses, passes, behind in zip(kept, split(around, batch, kept, after), after):
        yield Readers(tuple(uses), passes, behind)


def _uses(around: Surroundings, item: Candidate) -> Iterator[Use]:
    """Everything outside the chain that reads a value (not only the shape) of it."""
    own = item.forward
    for place, region in enumerate(item.regions):
        for name in region.nodes:
            for reader in _outside(around, name, own):
                refs = dict.fromkeys(around.graph[reader].inputs)
                yield from (Use(place, ref, reader, None) for ref in refs if ref.node == name)
    for stream in item.chain.streams:
        place = _owner(item.chain, stream)
        for alias in around.aliases(stream):
            if alias.node in own and alias != stream:
                continue
            for reader in _outside(around, alias.node, own):
                node = around.graph[reader]
                if alias in node.inputs and node.op != "Identity":
                    yield Use(place, alias, reader, stream)


def _outside(around: Surroundings, name: str, own: frozenset[str]) -> Iterator[str]:
    """Readers by value outside the chain; what an earlier run added keeps what it reads."""
    for reader in around.graph.readers.get(name, ()):
        node = around.graph[reader]
        if reader not in own and node.op not in METADATA_OPS and BLOCK_ATTR not in node.attrs:
            yield reader


def _owner(chain: Chain, stream: TensorRef) -> int:
    """The half in whose backward pass a stream is read: the first that computes h from it."""
    return next((i for i, half in enumerate(chain.halves) if half.q == stream), 0)


def _after_labels(around: Surroundings, batch: Sequence[Candidate]) -> list[After]:
    ids = around.index.ids
    last = [[ids[item.chain.outputs[1].node]] for item in batch]
    other = [[ids[item.chain.outputs[0].node]] for item in batch]
    last_labels = descendant_labels(around.index, last, control=False)
    other_labels = descendant_labels(around.index, other, control=False)
    return [After(last_labels, 1 << n, other_labels, 1 << n) for n in range(len(batch))]


def _is_after(around: Surroundings, item: Candidate, use: Use, after: After) -> bool:
    final = use.half == len(item.regions) - 1
    if after.holds(around.index.ids[use.reader], last_only=final):
        return True
    return final and use.reader in around.gradient_side


def _ids(around: Surroundings, groups: Iterable[Iterable[str]]) -> list[list[int]]:
    return [[around.index.ids[name] for name in group] for group in groups]


def _without_late_skips(around: Surroundings, kept: Sequence[Sequence[Use]]) -> list[list[Use]]:
    trimmed = [_trim_top(around, list(uses)) for uses in kept]
    tops = [top_readers(uses) for uses in trimmed]
    labels = ancestor_labels(around.index, _ids(around, tops), control=True)
    result: list[list[Use]] = []
    for number, (uses, top) in enumerate(zip(trimmed, tops)):
        bit = 1 << number
        result.append(
            [u for u in uses if u.reader in top or not labels[around.index.ids[u.reader]] & bit]
        )
    return result


def _trim_top(around: Surroundings, uses: list[Use]) -> list[Use]:
    """Drops from the last half's readers those that all others there depend on.

    Readers that gradient code alone creates are never dropped, and as soon as one of them depends
    on no other reader the rest are taken for backward too: a forward reader comes before them all.
    """
    while True:
        top = top_readers(uses)
        first = min(top, key=around.position, default=None)
        if first is None or len(top) < 2 or ops.is_gradient_op(around.graph[first].op):
            return uses
        if not _all_depend_on(around, first, top):
            return uses
        uses = [use for use in uses if use.reader != first]


def _all_depend_on(around: Surroundings, first: str, top: Sequence[str]) -> bool:
    """Whether every other reader depends by data on ``first``; walks as far as the last of them.

    Control edges do not count: ``tf.gradients`` lets the gradient that is passed on wait for that
    of the weights.
    """
    last = max(around.position(name) for name in top)
    missing = set(top) - {first}
    seen, pending = {first}, [first]
    while pending and missing:
        name = pending.pop()
        for reader in around.graph.readers.get(name, ()):
            if reader not in seen and around.position(reader) <= last:
                seen.add(reader)
                missing.discard(reader)
                pending.append(reader)
    return not missing


__all__ = ["BATCH", "Candidate", "Readers", "Use", "backward_readers"]
