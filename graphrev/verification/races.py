"""Which reads of variables a step leaves unordered with a write.

``tf.gradients`` orders a layer's reads of its weights before their update only where the optimizer
asks for it (``GATE_OP``). Programs that apply gradients of their own, or run two optimizers in one
step, race: the update of a weight may overtake a read, and no two runs agree. Such values cannot be
compared run against run. A rewrite must never add a race: that is checked on the graphs alone.

A reference variable's readers share its buffer, so what counts is when they run; a read of a
resource variable is a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial

from graphrev.analysis import ops
from graphrev.analysis.buffers import shared_input
from graphrev.analysis.functions_calls import nodes_run
from graphrev.analysis.order import ancestor_labels, descendant_labels, index_of
from graphrev.ir import Graph, Node, TensorRef
from graphrev.recomputation.functions.variables import may_write


@dataclass(frozen=True, order=True, slots=True)
class Race:
    """``reader`` may read ``variable`` before or after ``writer`` writes it."""

    variable: str
    writer: str
    reader: str


_Effects = tuple[bool, bool]
"""Whether an op, or a function it calls, reads variables, and whether it may write them."""


@dataclass(frozen=True, slots=True)
class _Access:
    """Who writes and who reads the value of a variable in a step."""

    variable: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]


def races(graph: Graph, fetched: Iterable[str]) -> frozenset[Race]:
    """The races of a step that fetches or runs the nodes ``fetched``."""
    index = index_of(graph)
    starts = [index.ids[name] for name in fetched]
    labels = ancestor_labels(index, [starts], control=True)
    needed = frozenset(name for name, label in zip(index.names, labels) if label)
    found = [access for access in _accesses(graph, needed) if access.writers and access.readers]
    writers = list(dict.fromkeys(writer for access in found for writer in access.writers))
    seeds = [[index.ids[writer]] for writer in writers]
    before = ancestor_labels(index, seeds, control=True)
    after = descendant_labels(index, seeds, control=True)
    bits = {writer: 1 << place for place, writer in enumerate(writers)}
    return frozenset(
        Race(access.variable, writer, reader)
        for access in found
        for writer in access.writers
        for reader in access.readers
        if writer != reader
        and not (before[index.ids[reader]] | after[index.ids[reader]]) & bits[writer]
    )


def added(
    before: Graph, after: Graph, racing: frozenset[Race], found: frozenset[Race]
) -> frozenset[Race]:
    """The races ``found`` in ``after`` that a rewrite made; ``before`` has those in ``racing``.

    An op that was put between a variable and its readers (a mask's product) reads when they did.
    Where every one of them raced with the same write, its race is theirs.
    """
    return frozenset(r for r in found - racing if not _stands_in(before, after, racing, r))


def _stands_in(before: Graph, after: Graph, racing: frozenset[Race], race: Race) -> bool:
    if race.reader in before:
        return False
    readers: list[str] = []
    pending, seen = [race.reader], {race.reader}
    while pending:
        for name in after.readers.get(pending.pop(), ()):
            if name in seen:
                continue
            seen.add(name)
            if ops.is_aliasing(after[name].op) or after[name].op == "DeepCopy":
                pending.append(name)
            elif name in before:
                readers.append(name)
    return bool(readers) and all(Race(race.variable, race.writer, n) in racing for n in readers)


def affected(graph: Graph, found: Iterable[Race]) -> frozenset[str]:
    """The nodes whose values depend on how races end, and the variables they are written to."""
    index = index_of(graph)
    seeds = [[index.ids[race.reader] for race in found]]
    labels = descendant_labels(index, seeds, control=False)
    names = {name for name, label in zip(index.names, labels) if label}
    targets = (ref.node for name in names for ref in graph[name].inputs)
    return frozenset(names | {name for name in targets if ops.is_variable(graph[name].op)})


def _accesses(graph: Graph, needed: frozenset[str]) -> Iterator[_Access]:
    effects = cache(partial(_effects, graph))
    for name in needed:
        node = graph[name]
        if node.op == "VarHandleOp":
            yield _of_resource(graph, name, needed, effects)
        elif ops.is_variable(node.op):
            yield _of_reference(graph, name, needed)


def _of_resource(
    graph: Graph, variable: str, needed: frozenset[str], effects: Callable[[str], _Effects]
) -> _Access:
    """What reads and writes a resource, whatever hands its handle on."""
    reads: dict[str, None] = {}
    writes: dict[str, None] = {}
    pending, seen = [variable], {variable}
    while pending:
        for name in graph.readers.get(pending.pop(), ()):
            if name not in needed or name in seen:
                continue
            seen.add(name)
            if ops.is_aliasing(graph[name].op):
                pending.append(name)
                continue
            has_read, may_have_written = effects(name)
            if has_read:
                reads[name] = None
            if may_have_written:
                writes[name] = None
    return _Access(variable, tuple(writes), tuple(reads))


def _effects(graph: Graph, name: str) -> _Effects:
    node = graph[name]
    reads = any(ops.is_variable_read(run.op) for run in nodes_run(graph, [node]))
    return reads, may_write(node, graph)


def _of_reference(graph: Graph, variable: str, needed: frozenset[str]) -> _Access:
    """What writes a reference, and what reads it, also through what shares its buffer.

    An op that never copies only hands the reference on; one that may copy reads it too.
    """
    writers: dict[str, None] = {}
    readers: dict[str, None] = {}
    pending = [TensorRef(variable)]
    seen = set(pending)
    while pending:
        tensor = pending.pop()
        for name in graph.readers_of(tensor):
            if name not in needed:
                continue
            node = graph[name]
            writes = _writes(node, tensor)
            handed = [TensorRef(name)] if writes else list(_handed(graph, node, tensor))
            if writes:
                writers[name] = None
            elif not handed or not ops.is_aliasing(node.op):
                readers[name] = None
            pending += [ref for ref in handed if ref not in seen]
            seen.update(handed)
    return _Access(variable, tuple(writers), tuple(readers))


def _writes(node: Node, tensor: TensorRef) -> bool:
    written = ops.mutates_ref_input(node.op)
    return any(slot < len(node.inputs) and node.inputs[slot] == tensor for slot in written)


def _handed(graph: Graph, node: Node, tensor: TensorRef) -> Iterator[TensorRef]:
    """The outputs of a reader of ``tensor`` that may lie in its buffer."""
    for output in range(ops.output_count(node) or 0):
        ref = TensorRef(node.name, output)
        if shared_input(graph, ref) == tensor:
            yield ref
