"""Which reads of variables a step leaves unordered with a write.

``tf.gradients`` orders a layer's reads of its weights before their update only where the optimizer
asks for it (``GATE_OP``). Programs that apply gradients of their own, or run two optimizers in one
step, race: the update of a weight may overtake a read, and no two runs agree. Such values cannot be
compared run against run. A rewrite must never add a race: that is checked on the graphs alone.

A reference variable's readers share its buffer, so what counts is when they run; a read of a
resource variable is a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.order import ancestor_labels, descendant_labels, index_of
from graphrev.ir import Graph, Node, TensorRef


@dataclass(frozen=True, order=True, slots=True)
class Race:
    """``reader`` may read ``variable`` before or after ``writer`` writes it."""

    variable: str
    writer: str
    reader: str


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


def affected(graph: Graph, found: Iterable[Race]) -> frozenset[str]:
    """The nodes whose values depend on how races end, and the variables they are written to."""
    index = index_of(graph)
    seeds = [[index.ids[race.reader] for race in found]]
    labels = descendant_labels(index, seeds, control=False)
    names = {name for name, label in zip(index.names, labels) if label}
    targets = (ref.node for name in names for ref in graph[name].inputs)
    return frozenset(names | {name for name in targets if ops.is_variable(graph[name].op)})


def _accesses(graph: Graph, needed: frozenset[str]) -> Iterator[_Access]:
    for name in needed:
        node = graph[name]
        if node.op == "VarHandleOp":
            yield _of_resource(graph, name, needed)
        elif ops.is_variable(node.op):
            yield _of_reference(graph, name, needed)


def _of_resource(graph: Graph, variable: str, needed: frozenset[str]) -> _Access:
    users = [name for name in graph.readers.get(variable, ()) if name in needed]
    reads = tuple(name for name in users if ops.is_variable_read(graph[name].op))
    writes = tuple(name for name in users if name not in reads)
    return _Access(variable, writes, reads)


def _of_reference(graph: Graph, variable: str, needed: frozenset[str]) -> _Access:
    writers: dict[str, None] = {}
    readers: dict[str, None] = {}
    pending, seen = [variable], {variable}
    while pending:
        source = pending.pop()
        for name in graph.readers.get(source, ()):
            node = graph[name]
            if name not in needed or _takes_for_nobody(graph, node, source):
                continue
            writes = any(
                node.inputs[slot].node == source
                for slot in ops.mutates_ref_input(node.op)
                if slot < len(node.inputs)
            )
            hands_on = ops.is_aliasing(node.op) and node.inputs[0].node == source
            (writers if writes else readers)[name] = None
            if (writes or hands_on) and name not in seen:
                seen.add(name)
                pending.append(name)
    return _Access(variable, tuple(writers), tuple(n for n in readers if n not in seen))


def _takes_for_nobody(graph: Graph, node: Node, source: str) -> bool:
    """Whether an ``IdentityN`` takes a value that nobody reads from it.

    A block that is to be differentiated later takes its weights so, for the gradient to come.
    """
    if node.op != "IdentityN":
        return False
    places = [place for place, ref in enumerate(node.inputs) if ref.node == source]
    return not any(graph.readers_of(TensorRef(node.name, place)) for place in places)
