"""Runs two graphs side by side and compares everything a training step computes.

Both graphs get the same feeds, the same variables and the same random seeds. Where a random op was
made stateless its numbers differ by design: the numbers the rewritten graph drew are fed to the
original, so that all that follows must agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphrev.analysis import ops
from graphrev.analysis.shapes import infer_shapes
from graphrev.errors import VerificationError
from graphrev.ir import DType, Graph, TensorRef
from graphrev.ir import verify as structure
from graphrev.verification.choices import (
    Fetches,
    ancestors,
    choose_fetches,
    make_feeds,
    tensor_named,
)
from graphrev.verification.result import Comparison, Drift, Verification
from graphrev.verification.sessions import Runner, replaced_random_ops

_GROWTH = 64
_EPSILONS_PER_HALF = 2


def verify(
    before: Graph,
    after: Graph,
    *,
    feeds: Mapping[str, Any] | None = None,
    fetches: Iterable[str] = (),
    targets: Iterable[str] = (),
    variables: Mapping[str, Any] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> Verification:
    """Runs both graphs and compares outputs, gradients and variable updates.

    Args:
        before, after: verified graphs of the same program.
        feeds: by tensor name an array, or a :class:`~graphrev.ir.Shape` to draw values of. What is
            not given is made up from the placeholders' types and shapes.
        fetches: tensors or ops to compare; by default losses, gradients and the training ops.
        targets: the training ops, where the caller knows them.
        variables: values by variable name (from a checkpoint); by default what the initializers
            make, a little noise added so that no gradient vanishes by symmetry.
        rtol, atol: allowed relative and absolute error; by default derived from the rewrite.
        seed: seeds everything that is made up.

    Raises:
        InvalidGraphError: a graph breaks a structural invariant.
        VerificationError: a graph cannot be run with what is at hand.
        UsageError: a feed or fetch does not exist.
    """
    for graph in (before, after):
        structure.verify(graph, ops.output_count, ops.input_count)
    chosen = choose_fetches(before, after, targets, fetches)
    if not (chosen.outputs or chosen.gradients or chosen.targets):
        raise VerificationError(
            "There is nothing to compare: no loss, gradient or training op was found. Name what to "
            "compare with --fetch NAME."
        )
    made = _feeds(before, chosen, feeds or {}, seed)
    with Runner(before, "first") as first, Runner(after, "second") as second:
        values, notes = _variables(first, second, variables, seed)
        first.load(values)
        second.load(values)
        return _compare(before, after, first, second, chosen, made, (rtol, atol), notes)


def _feeds(
    graph: Graph, chosen: Fetches, given: Mapping[str, Any], seed: int
) -> dict[TensorRef, Any]:
    fed = {tensor_named(name).node: v for name, v in given.items()}
    starts = {ref.node for ref in (*chosen.outputs, *chosen.gradients)} | set(chosen.targets)
    needed = ancestors(graph, starts, frozenset(fed))
    return make_feeds(graph, infer_shapes(graph), needed, given, seed)


def _variables(
    first: Runner, second: Runner, given: Mapping[str, Any] | None, seed: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The variables' values; those that only one graph has (masks) start as it starts them."""
    import numpy as np

    old, new = first.initial_values(), second.initial_values()
    if given is not None:
        own = {name: value for name, value in new.items() if name not in old}
        return {**own, **given}, ()
    draw = np.random.default_rng(seed + 1)
    values = {**new, **old}
    for name in sorted(old):
        value = np.asarray(values[name])
        if value.dtype.kind == "f" and name in new:
            noise = draw.uniform(0, 0.01, value.shape)
            values[name] = (value + noise).astype(value.dtype)
    return values, ("variables are the initializers' values plus uniform noise in [0, 0.01)",)


def _compare(
    before: Graph,
    after: Graph,
    first: Runner,
    second: Runner,
    chosen: Fetches,
    feeds: dict[TensorRef, Any],
    given: tuple[float | None, float | None],
    notes: tuple[str, ...],
) -> Verification:
    tensors = (*chosen.outputs, *chosen.gradients)
    rebuilt = _rebuilt(after)
    twins = replaced_random_ops(after)
    extra = [*(TensorRef(twin) for twin in twins.values())]
    probes = [ref for pair in rebuilt for ref in (pair[1], pair[2])]
    results = second.run((*tensors, *extra, *probes), chosen.targets_after, feeds)
    ours = results[: len(tensors)]
    drawn = dict(zip((TensorRef(name) for name in twins), results[len(tensors) :]))
    streams = results[len(tensors) + len(extra) :]
    theirs = first.run(tensors, chosen.targets, {**feeds, **drawn})
    drifts = _drifts(after, rebuilt, streams)
    tolerance = tolerance(drifts, given)
    pairs = [
        (str(ref), "output" if i < len(chosen.outputs) else "gradient", a, b)
        for i, (ref, a, b) in enumerate(zip(tensors, theirs, ours))
    ]
    if chosen.targets or chosen.targets_after:
        old, new = first.variables(), second.variables()
        pairs.extend((name, "variable", old[name], new[name]) for name in old if name in new)
    comparisons = tuple(c for kind in _KINDS for c in of_kind(kind, pairs, tolerance))
    atol = 0.0 if tolerance.atol is None else tolerance.atol
    return Verification(comparisons, drifts, tolerance.rtol, atol, tolerance.reason, notes)


_KINDS = ("output", "gradient", "variable")


def _rebuilt(after: Graph) -> list[tuple[str, TensorRef, TensorRef]]:
    """``(block, original stream, rebuilt stream)`` for every stream the rewrite rebuilds."""
    found: list[tuple[str, TensorRef, TensorRef]] = []
    for name, node in after.nodes.items():
        stream, block = node.attrs.get("_graphrev_stream"), node.attrs.get("_graphrev_block")
        if isinstance(stream, bytes) and isinstance(block, bytes):
            original = tensor_named(stream.decode())
            if original.node in after:
                found.append((block.decode(), original, TensorRef(name)))
    return found


def _drifts(
    after: Graph, rebuilt: list[tuple[str, TensorRef, TensorRef]], values: list[Any]
) -> tuple[Drift, ...]:
    """Per block the worst rebuilt stream; what may be rises with the streams rebuilt."""
    worst: dict[str, Drift] = {}
    for number, (block, original, ref) in enumerate(rebuilt):
        error, _ = relative(values[2 * number], values[2 * number + 1])
        dtype = after[ref.node].attrs.get("T")
        epsilon = dtype.epsilon if isinstance(dtype, DType) else None
        known = worst.get(block, Drift(block, 0.0, str(original), 0, 0.0))
        streams = known.streams + 1
        allowed = _GROWTH * _EPSILONS_PER_HALF * streams * (epsilon or 0.0)
        larger = error > known.error
        stream = str(original) if larger else known.stream
        worst[block] = Drift(block, max(error, known.error), stream, streams, allowed)
    return tuple(worst.values())
