"""What to fetch and what to feed when the caller does not say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphrev.analysis import ops
from graphrev.analysis.frames import control_contexts, is_outside_loops
from graphrev.analysis.order import descendant_labels
from graphrev.analysis.shape_rules_queues import DEQUEUES, DEQUEUES_OF_MANY, TAKES
from graphrev.analysis.shapes import Shapes
from graphrev.errors import UsageError, VerificationError, printable
from graphrev.ir import DType, Graph, Node, Shape, TensorRef

_SOURCES = (
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
UNKNOWN_DIM = 4
"""Size of a fed dimension that the graph leaves open."""


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
    """The optimizer ops of ``graph`` on variables that ``other`` has too."""
    return tuple(
        name
        for name, node in graph.nodes.items()
        if ops.is_optimizer_apply(node.op) and node.inputs and node.inputs[0].node in other
    )


def _existing(name: str, before: Graph, after: Graph) -> TensorRef:
    ref = tensor_named(name)
    for graph, which in ((before, "first"), (after, "second")):
        if ref.node not in graph:
            raise UsageError(f"There is no '{printable(name)}' in the {which} graph to fetch.")
        if not _has_output(graph, ref, or_none=True):
            raise UsageError(
                f"'{printable(ref.node)}' has no output {ref.index} in the {which} graph to fetch, "
                f"as '{printable(name)}' asks for."
            )
    return ref


def _has_output(graph: Graph, ref: TensorRef, *, or_none: bool = False) -> bool:
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
        written = ops.mutates_ref_input(node.op)
        for place, ref in enumerate(node.inputs):
            source = before[ref.node]
            dtype = ops.output_dtype(source, ref.index)
            plain = dtype is not None and dtype.is_floating and not dtype.is_ref
            if place not in written and plain and not ops.is_constant(source.op):
                if ref.node in after and not _is_state(before, ref):
                    found[ref] = None
    return tuple(ref for ref in found if before[ref.node].op not in _SOURCES)


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
    index = before.index
    seeds = [i for i, n in enumerate(before.nodes.values()) if ops.is_gradient_op(n.op)]
    backward = descendant_labels(index, [seeds], control=False)
    ends: list[TensorRef] = []
    for number, (name, node) in enumerate(before.nodes.items()):
        if backward[number] or name not in after or not _is_forward_value(before, node):
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


def make_feeds(
    graph: Graph, shapes: Shapes, needed: Iterable[str], given: Mapping[str, Any], seed: int
) -> dict[TensorRef, Any]:
    """Values for every placeholder and input-pipeline output among ``needed``.

    Floats are drawn from the standard normal distribution, integers from {0, 1} (valid for labels
    of any classifier), from a generator seeded by ``seed``. Unknown dimensions are
    :data:`UNKNOWN_DIM`.

    Args:
        given: by tensor name an array to feed, or a :class:`~graphrev.ir.Shape` to draw.

    Raises:
        VerificationError: a placeholder's type cannot be made up, or its rank is unknown.
        UsageError: a given shape does not fit, or there is no such tensor.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    feeds: dict[TensorRef, Any] = {}
    for name, value in given.items():
        ref = tensor_named(name)
        if ref.node not in graph or not _has_output(graph, ref):
            raise UsageError(f"There is no tensor '{printable(name)}' to feed.")
        if isinstance(value, Shape):
            feeds[ref] = _drawn(draw, ref, _fitting(shapes, ref, value), shapes.dtype(ref))
        else:
            feeds[ref] = np.asarray(value)
    for name in sorted(needed):
        node = graph[name]
        if node.op in ("Placeholder", "PlaceholderV2") or node.op in _SOURCES:
            for index in range(ops.output_count(node) or 0):
                ref = TensorRef(name, index)
                if ref not in feeds:
                    shape = shapes.of(ref)
                    feeds[ref] = _drawn(draw, ref, shape, shapes.dtype(ref))
    return feeds


def _fitting(shapes: Shapes, ref: TensorRef, given: Shape) -> Shape:
    static = shapes.of(ref)
    if static.dims is not None and given.dims is not None:
        fits = len(static.dims) == len(given.dims) and all(
            a is None or b is None or a == b for a, b in zip(static.dims, given.dims)
        )
        if not fits:
            raise UsageError(
                f"Shape {_spelled(given)} does not fit '{printable(str(ref))}', whose shape is "
                f"{_spelled(static)}."
            )
    return given


def _spelled(shape: Shape) -> str:
    if shape.dims is None:
        return "unknown"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape.dims) + "]"


def _drawn(draw: Any, ref: TensorRef, shape: Shape, dtype: DType | None) -> Any:
    import numpy as np

    name = printable(str(ref))
    if shape.dims is None:
        raise VerificationError(
            f"The shape of '{name}' is unknown. Give it with --feed {ref.node}=SHAPE."
        )
    dims = tuple(UNKNOWN_DIM if dim is None else dim for dim in shape.dims)
    if dtype is DType.BFLOAT16:
        import ml_dtypes

        return draw.standard_normal(dims).astype(ml_dtypes.bfloat16)
    numpy_names = {DType.FLOAT: "float32", DType.DOUBLE: "float64", DType.HALF: "float16"}
    if dtype is not None and dtype in numpy_names:
        return draw.standard_normal(dims).astype(numpy_names[dtype])
    if dtype is DType.BOOL:
        return draw.integers(0, 2, dims).astype(bool)
    if dtype is DType.STRING:
        return np.full(dims, b"", dtype=object) if math.prod(dims) else np.empty(dims, object)
    if dtype is not None and dtype.byte_size is not None and not dtype.is_complex:
        return draw.integers(0, 2, dims).astype(dtype.name.lower())
    kind = dtype.name.lower() if dtype else "unknown type"
    raise VerificationError(
        f"No value can be made up for '{name}' ({kind}). "
        "Fetch something that does not need it (--fetch NAME), or feed it from Python."
    )
