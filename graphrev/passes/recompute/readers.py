"""Who reads a region's values from outside, and which of those readers are its backward pass.

Structure decides, never names. Among the outside readers of a region:

* A reader that depends on no other one belongs to the forward pass (the next layer, a summary),
  unless it is or follows from an op that only gradient code creates. So does whatever was built in
  a recompute scope itself.
* The rest comes after another reader: gradients do, through the loss, and so does a late skip (the
  decoder of a U-Net). All gradients come after the late skip, hence the first reader that all the
  others depend on is forward too.

A tensor with a forward reader leaves the region. It is kept where another region starts from it.
Otherwise those of its readers are backward that depend on the gradient that comes in, or are the
gradient of the very op that computed it; a reader that the incoming gradient depends on stays with
the value of the forward pass, for waiting for it would be a cycle. Which of several backward passes
a reader belongs to is for :mod:`graphrev.passes.recompute.backward_passes` to say. All this is
computed for many regions at once by bit labels, so the cost is linear in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from graphrev.analysis.order import descendant_labels
from graphrev.ir import TensorRef
from graphrev.ir.deferred import BLOCK_ATTR
from graphrev.passes.recompute.backward_passes import Draft, Readers, Use, split
from graphrev.passes.recompute.regions import Region, scope_of
from graphrev.recomputation.facts import METADATA_OPS, Facts

BATCH = 256
"""Regions whose labels are computed together."""

_READS_ITS_OUTPUT = {
    f"{op}Grad": (op, slot)
    for op, slot in (
        ("Tanh", 0),
        ("Sigmoid", 0),
        ("Sqrt", 0),
        ("Rsqrt", 0),
        ("Inv", 0),
        ("Reciprocal", 0),
        ("Relu", 1),
        ("Relu6", 1),
        ("Elu", 1),
        ("Selu", 1),
        ("MaxPool", 1),
    )
}
"""Gradient ops that read the output of the op they differentiate, and at which input."""


def backward_readers(
    facts: Facts, regions: Sequence[Region], fetched: frozenset[TensorRef]
) -> list[Readers]:
    """For each region its backward readers; ``fetched`` tensors are alive anyway."""
    kept = fetched | {ref for region in regions for ref in region.entering}
    found: list[Readers] = []
    for start in range(0, len(regions), BATCH):
        found.extend(_batch(facts, regions[start : start + BATCH], kept))
    return found


def _batch(facts: Facts, regions: Sequence[Region], kept: frozenset[TensorRef]) -> list[Readers]:
    ids = facts.index.ids
    uses = [list(_uses(facts, region)) for region in regions]
    seeds = [[ids[use.reader] for use in listed] for listed in uses]
    after = descendant_labels(facts.index, seeds, control=True)
    forward = [frozenset[str]()] * len(regions)
    while True:
        drafts = [
            _draft(facts, region, listed, kept, skipped, after, 1 << bit)
            for bit, (region, listed, skipped) in enumerate(zip(regions, uses, forward))
        ]
        found = split(facts, drafts)
        skips = [_late_skips_of_a_pass(facts, readers) for readers in found]
        if not any(skips):
            return found
        forward = [before | late for before, late in zip(forward, skips)]


def _uses(facts: Facts, region: Region) -> Iterator[Use]:
    """Everything outside that reads a value (not only the shape) of the region."""
    own, graph = set(region.nodes), facts.graph
    for name in region.nodes:
        for reader in graph.readers.get(name, ()):
            node = graph[reader]
            if reader in own or node.op in METADATA_OPS or BLOCK_ATTR in node.attrs:
                continue
            refs = dict.fromkeys(node.inputs)
            yield from (Use(ref, reader) for ref in refs if ref.node == name)


def _draft(
    facts: Facts,
    region: Region,
    uses: list[Use],
    kept: frozenset[TensorRef],
    forward: frozenset[str],
    after: list[int],
    bit: int,
) -> Draft:
    names = {use.reader for use in uses} - forward
    later = {name for name in names if _may_be_backward(facts, name, after, bit)}
    later = _without_late_skips(facts, later)
    leaving = {use.tensor for use in uses if use.reader not in later}
    backward = [use for use in uses if use.reader in later and use.tensor not in kept]
    inner = [u for u in backward if u.tensor not in leaving or _is_own_gradient(facts, u)]
    late = (use for use in backward if use.tensor in leaving)
    return Draft(region, tuple(inner), tuple(late), after, bit)


def _may_be_backward(facts: Facts, name: str, after: list[int], bit: int) -> bool:
    if name in facts.gradient_side:
        return True
    if scope_of(facts, name) is not None:
        return False
    node_id, index = facts.index.ids[name], facts.index
    sources = (*index.data_inputs[node_id], *index.control_inputs[node_id])
    return any(after[source] & bit for source in sources)


def _without_late_skips(facts: Facts, names: set[str]) -> set[str]:
    left = set(names)
    while len(left) > 1:
        first = min(left, key=facts.position)
        if first in facts.gradient_side or not _all_depend_on(facts, first, left):
            break
        left.discard(first)
    return left


def _late_skips_of_a_pass(facts: Facts, readers: Readers) -> frozenset[str]:
    """Readers that all others of their pass depend on: another pass need not."""
    if len(readers.passes) < 2:
        return frozenset()
    found: set[str] = set()
    for backward in readers.passes:
        names = {use.reader for use in backward.uses}
        found |= names - _without_late_skips(facts, names)
    return frozenset(found)


def _all_depend_on(facts: Facts, first: str, names: Iterable[str]) -> bool:
    """Whether every other name depends by data on ``first``; walks as far as the last of them.

    Control edges do not count: ``tf.gradients`` lets the gradient that is passed on wait for that
    of the weights.
    """
    missing = set(names) - {first}
    last = max(facts.position(name) for name in missing)
    seen, pending, graph = {first}, [first], facts.graph
    while pending and missing:
        name = pending.pop()
        for reader in graph.readers.get(name, ()):
            if reader not in seen and facts.position(reader) <= last:
                seen.add(reader)
                missing.discard(reader)
                pending.append(reader)
    return not missing


def _is_own_gradient(facts: Facts, use: Use) -> bool:
    """Whether the reader differentiates the op that computed the tensor, by their types."""
    reader = facts.graph[use.reader]
    op, slot = _READS_ITS_OUTPUT.get(reader.op, ("", 0))
    producer = facts.graph[use.tensor.node].op
    return producer == op and slot < len(reader.inputs) and reader.inputs[slot] == use.tensor
