"""What to fetch when the caller does not say, and what never comes by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.analysis.frames import control_contexts, is_outside_loops
from graphrev.analysis.shape_rules_queues import DEQUEUES, DEQUEUES_OF_MANY, TAKES
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph, Node, TensorRef
from graphrev.passes.mask.updates import CARRIERS, updated_by
from graphrev.recomputation.facts import Facts

SOURCES = (
    frozenset({"IteratorGetNext", "IteratorGetNextSync", "BarrierTakeMany", "Unstage"})
    | {"MapUnstage", "OrderedMapUnstage"}
    | DEQUEUES
    | DEQUEUES_OF_MANY
    | TAKES
)
"""What waits for other steps, or for threads that fill queues: it is fed instead."""
_HANDED_IN = {
    "AccumulatorApplyGradient": 2,
    "ResourceAccumulatorApplyGradient": 2,
    "SparseAccumulatorApplyGradient": 3,
}
"""Where an accumulator is given a gradient that a later step applies."""


@dataclass(frozen=True, slots=True)
class Fetches:
    """What a step computes: outputs and gradients by tensor, and the ops that update variables.

    ``targets`` are the ops of the first graph, ``targets_after`` those of the second: one that lost
    an update, or makes one more, must be run as it is for that to be seen.
    """

    outputs: tuple[TensorRef, ...]
    gradients: tuple[TensorRef, ...]
    targets: tuple[str, ...]
    targets_after: tuple[str, ...]


def choose_fetches(
    before: Graph, after: Graph, targets: Iterable[str], named: Iterable[str]
) -> Fetches:
    """The tensors and ops to run in both graphs.

    Args:
        targets: the training ops, where the file names them.
        named: tensors or ops the caller asks for; they replace the defaults.

    Raises:
        UsageError: a named tensor does not exist in both graphs.
    """
    asked = [_existing(name, before, after) for name in named]
    if asked:
        tensors = tuple(ref for ref in asked if ops.output_count(before[ref.node]) != 0)
        ops_only = tuple(ref.node for ref in asked if ops.output_count(before[ref.node]) == 0)
        return Fetches(tensors, _gradients(before, after, ops_only), ops_only, ops_only)
    applied, applied_after = _applied(before, after), _applied(after, before)
    # In a loop a gradient has many values; where a branch is not taken it has none, which a run
    # finds out. A loss in a branch is only one of what the branch hands out.
    inside = control_contexts(before)
    outputs = tuple(ref for ref in _losses(before, after) if ref.node not in inside)
    found = dict.fromkeys(_outside(before, ref) for ref in _gradients(before, after, applied))
    gradients = tuple(
        ref for ref in found if ref.node in after and is_outside_loops(inside.get(ref.node, ()))
    )
    wanted = tuple(name for name in targets if name in before)
    if wanted and all(name in after for name in wanted):
        return Fetches(outputs, gradients, wanted, wanted)
    return Fetches(outputs, gradients, applied, applied_after)


def _applied(graph: Graph, other: Graph) -> tuple[str, ...]:
    """The optimizer ops of ``graph`` on variables that ``other`` has too.

    Where there are none, the assignments that gradients drive: an optimizer of plain arithmetic.
    """
    found = tuple(
        name
        for name, node in graph.nodes.items()
        if ops.is_optimizer_apply(node.op) and node.inputs and node.inputs[0].node in other
    )
    return found or tuple(_assigned(graph, other))


def _assigned(graph: Graph, other: Graph) -> Iterator[str]:
    driven = Facts.of(graph).gradient_side
    for name, node in graph.nodes.items() if driven else ():
        if ops.is_variable(node.op) and name in other:
            yield from (update for update in updated_by(graph, name) if update in driven)


def _existing(name: str, before: Graph, after: Graph) -> TensorRef:
    ref = tensor_named(name)
    for graph, which in ((before, "first"), (after, "second")):
        if ref.node not in graph:
            raise UsageError(f"There is no '{printable(name)}' in the {which} graph to fetch.")
        if not has_output(graph, ref, or_none=True):
            raise UsageError(
                f"'{printable(ref.node)}' has no output {ref.index} in the {which} graph to fetch, "
                f"as '{printable(name)}' asks for."
            )
    return ref


def has_output(graph: Graph, ref: TensorRef, *, or_none: bool = False) -> bool:
    """Whether the node puts the tensor out; ``or_none``: or is an op without any outputs."""
    count = ops.output_count(graph[ref.node])
    return count is None or ref.index < count or (or_none and not count and not ref.index)


def tensor_named(name: str) -> TensorRef:
    """``"a:1"`` or ``"a"`` as a tensor."""
    head, colon, tail = name.rpartition(":")
    return TensorRef(head, int(tail)) if colon and tail.isdigit() else TensorRef(name)


def _gradients(before: Graph, after: Graph, applied: Iterable[str]) -> tuple[TensorRef, ...]:
    """What optimizers read beside variables and constants, and accumulators are handed."""
    found = dict.fromkeys(_handed_in(before, after))
    for name in applied:
        node = before[name]
        if not ops.is_optimizer_apply(node.op):
            found.update(dict.fromkeys(_carried(before, after, node)))
            continue
        written = ops.mutates_ref_input(node.op)
        for place, ref in enumerate(node.inputs):
            source = before[ref.node]
            dtype = ops.output_dtype(source, ref.index)
            plain = dtype is not None and dtype.is_floating and not dtype.is_ref
            if place not in written and plain and not ops.is_constant(source.op):
                if ref.node in after and not _is_state(before, ref):
                    found[ref] = None
    return tuple(ref for ref in found if before[ref.node].op not in SOURCES)


def _carried(before: Graph, after: Graph, update: Node) -> Iterator[TensorRef]:
    """Where what an update of plain arithmetic assigns comes from: its gradients."""
    pending, seen = list(update.inputs[1:]), set[TensorRef]()
    while pending:
        ref = pending.pop()
        node = before[ref.node]
        if ref in seen or ops.is_constant(node.op) or _is_state(before, ref):
            continue
        seen.add(ref)
        dtype = ops.output_dtype(node, ref.index)
        if node.op in CARRIERS:
            pending.extend(node.inputs)
        elif ref.node in after and dtype is not None and dtype.is_floating and not dtype.is_ref:
            yield ref


def _handed_in(before: Graph, after: Graph) -> Iterator[TensorRef]:
    for node in before.nodes.values():
        place = _HANDED_IN.get(node.op)
        if place is not None and node.inputs[place].node in after:
            yield node.inputs[place]


def _outside(graph: Graph, ref: TensorRef) -> TensorRef:
    """What enters the branch that a Switch leads into."""
    while graph[ref.node].op == "Switch":
        ref = graph[ref.node].inputs[0]
    return ref


def _is_state(graph: Graph, ref: TensorRef) -> bool:
    """Whether a tensor is a variable's value (the optimizer's slots and beta powers)."""
    node = graph[ref.node]
    return ops.is_variable(node.op) or ops.is_variable_read(node.op)


def _losses(before: Graph, after: Graph) -> tuple[TensorRef, ...]:
    """Forward results nobody reads (or only a summary does): floating-point ends."""
    backward = Facts.of(before).gradient_side
    ends: list[TensorRef] = []
    for name, node in before.nodes.items():
        if name in backward or name not in after or not _is_forward_value(before, node):
            continue
        readers = [before[reader] for reader in before.readers.get(name, ())]
        if all(reader.op == "ScalarSummary" for reader in readers):
            ends.append(TensorRef(name))
    return tuple(ends)


def _is_forward_value(graph: Graph, node: Node) -> bool:
    """Whether a node computes a number; an Identity does if what it names does (a named loss)."""
    while node.op == "Identity" and node.inputs:
        node = graph[node.inputs[0].node]
    dtype = ops.output_dtype(node, 0)
    if dtype is None or not dtype.is_floating or dtype.is_ref or not node.inputs:
        return False
    return not ops.is_stateful(node.op) and not ops.is_aliasing(node.op)


def ancestors(graph: Graph, starts: Iterable[str], fed: frozenset[str]) -> set[str]:
    """All nodes that run for ``starts`` when ``fed`` are fed."""
    seen = {name for name in starts if name in graph}
    pending = list(seen)
    while pending:
        name = pending.pop()
        if name in fed:
            continue
        node = graph[name]
        for source in (*(ref.node for ref in node.inputs), *node.control_inputs):
            if source not in seen:
                seen.add(source)
                pending.append(source)
    return seen
