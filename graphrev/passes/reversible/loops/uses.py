"""What the gradient loop reads over each stack, and where it can have that from instead.

A stack's value is a stream, a value inside a half, free (see :mod:`.body`), *derived* (computed
from those alone, like a shape), or something the block knows nothing about, whose stack stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from graphrev.analysis.frames_stacks import Stack
from graphrev.ir import TensorRef
from graphrev.passes.reversible.loops.spans import Task
from graphrev.passes.reversible.ties import compares
from graphrev.passes.reversible.uses import Candidate
from graphrev.recomputation.loops.body import Body, is_pure


class Kind(Enum):
    """Where a stack's value comes from in the gradient loop."""

    STREAM = "stream"
    INNER = "inner"
    FREE = "free"
    DERIVED = "derived"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class StackUse:
    """One stack.

    Attributes:
        place: the half whose backward pass reads it; ``None`` where that is not known.
        stream: the stream the value is an alias of, for streams.
    """

    stack: Stack
    kind: Kind
    place: int | None = None
    stream: TensorRef | None = None


def stack_uses(body: Body, task: Task) -> tuple[StackUse, ...]:
    """What each stack between the two loops holds."""
    item = task.item
    owner = {name: k for k, region in enumerate(item.regions) for name in region.nodes}
    derived = _derived(body, task, owner)
    stacks = (stack for stack in body.pair.stacks if stack.name not in body.gone)
    return tuple(_use(body, item, owner, derived, stack) for stack in stacks)


def _use(
    body: Body,
    item: Candidate,
    owner: Mapping[str, int],
    derived: frozenset[str],
    stack: Stack,
) -> StackUse:
    name = stack.value.node
    if stack not in body.stacks:
        return StackUse(stack, Kind.SAVED)
    origin = body.around.origin(stack.value)
    if origin in item.chain.streams:
        readers = body.around.graph.readers.get(stack.pop, ())
        if any(compares(body.around.graph, item.chain, origin, reader) for reader in readers):
            return StackUse(stack, Kind.SAVED)
        return StackUse(stack, Kind.STREAM, reading_half(item, origin), origin)
    if name in owner:
        return StackUse(stack, Kind.INNER, owner[name])
    if name in body.free:
        return StackUse(stack, Kind.FREE)
    if name in derived:
        return StackUse(stack, Kind.DERIVED)
    return StackUse(stack, Kind.SAVED)


def reading_half(item: Candidate, stream: TensorRef) -> int | None:
    """The half that computes h from a stream."""
    halves = enumerate(item.chain.halves)
    return next((place for place, half in halves if half.q == stream), None)


def _derived(body: Body, task: Task, owner: Mapping[str, int]) -> frozenset[str]:
    """Nodes outside the halves that follow from streams, halves and free or saved values alone.

    Nothing follows from what another step of the span undoes: that is no longer saved soon.
    """
    item = task.item
    left_out = {ref.node for ref in item.chain.streams} | task.foreign | body.free
    found: set[str] = set()
    for name in body.nodes:
        node = body.around.graph[name]
        if name in owner or name in left_out or not is_pure(node):
            continue
        if all(_known(body, task, owner, found, ref) for ref in node.inputs):
            found.add(name)
    return frozenset(found)


def _known(
    body: Body,
    task: Task,
    owner: Mapping[str, int],
    derived: set[str],
    ref: TensorRef,
) -> bool:
    if ref.node in owner or ref.node in body.free or ref.node in derived:
        return True
    origin = body.around.origin(ref)
    if origin in task.item.chain.streams:
        return True
    return origin.node not in task.foreign and body.stack_of(ref) is not None


def derived_nodes(body: Body, task: Task, roots: Iterable[str]) -> tuple[str, ...]:
    """``roots`` and the derived nodes they are computed from, in topological order."""
    owner = {name for region in task.item.regions for name in region.nodes}
    streams = {ref.node for ref in task.item.chain.streams}
    derived = _derived(body, task, dict.fromkeys(owner, 0))
    needed = set(roots)
    for name in reversed(body.nodes):
        if name in needed:
            sources = {ref.node for ref in body.around.graph[name].inputs}
            needed |= (sources & derived) - owner - streams
    return tuple(name for name in body.nodes if name in needed)
