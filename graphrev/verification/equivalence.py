"""Runs two graphs side by side and compares everything a training step computes.

Both graphs get the same feeds, the same variables and the same random seeds. Where a random op was
made stateless its numbers differ by design: the numbers the rewritten graph drew are fed to the
original, so that all that follows must agree.

The tolerance. A rewrite that only recomputes is bitwise exact but for sums in another order: 64
epsilons. A reversible block rebuilds streams by subtraction and drifts by about two epsilons a half
(``passes/reversible/drift.py``), by more where streams grow. So the drift is measured: it may be 64
times the estimate, and eight times the drift is allowed for all values of a kind taken together. A
single tensor may differ by the square root of that: where a rebuilt value crosses zero a ReLU
passes a gradient it did not pass before, so a drift of d changes a share d of a gradient's elements
wholly, which is an error of sqrt(d) in its norm. A value that is all cancellation (the gradient of
a bias in front of a batch norm) has no relative error to speak of, hence an absolute term: the
relative one times a hundredth of the typical size of its kind.
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

_FLOOR = 64
_ROOM = 8
_GROWTH = 64
_EPSILONS_PER_HALF = 2
_CANCELLATION = 0.01


@dataclass(frozen=True)
class Tolerance:
    """Allowed errors (all values of a kind together; a single tensor) and where they come from."""

    rtol: float
    single: float
    atol: float | None
    reason: str


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
        values, notes = _variables(first, variables, seed)
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
    first: Runner, given: Mapping[str, Any] | None, seed: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    import numpy as np

    if given is not None:
        return dict(given), ()
    draw = np.random.default_rng(seed + 1)
    values = first.initial_values()
    for name in sorted(values):
        value = np.asarray(values[name])
        if value.dtype.kind == "f":
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
    tolerance = _tolerance(drifts, given)
    pairs = [
        (str(ref), "output" if i < len(chosen.outputs) else "gradient", a, b)
        for i, (ref, a, b) in enumerate(zip(tensors, theirs, ours))
    ]
    if chosen.targets or chosen.targets_after:
        old, new = first.variables(), second.variables()
        pairs.extend((name, "variable", old[name], new[name]) for name in old if name in new)
    comparisons = tuple(c for kind in _KINDS for c in _of_kind(kind, pairs, tolerance))
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


def _tolerance(drifts: tuple[Drift, ...], given: tuple[float | None, float | None]) -> Tolerance:
    rtol, atol = given
    if rtol is not None:
        return Tolerance(rtol, rtol, atol, "given by the caller")
    if not drifts:
        bound = _FLOOR * (DType.FLOAT.epsilon or 0.0)
        return Tolerance(bound, bound, atol, f"{_FLOOR} epsilons, for sums in another order")
    drift = max(max(d.error, d.allowed / _GROWTH) for d in drifts)
    bound = _ROOM * drift
    reason = f"{_ROOM} x the drift of rebuilt streams, {drift:.1e}; its root for a single tensor"
    return Tolerance(bound, min(1.0, bound) ** 0.5, atol, reason)


def _of_kind(
    kind: str, pairs: list[tuple[str, str, Any, Any]], tolerance: Tolerance
) -> list[Comparison]:
    """All values of a kind one by one, and the floating-point ones taken together."""
    import numpy as np

    found = [(name, a, b) for name, k, a, b in pairs if k == kind]
    scale = _typical(a for _, a, _ in found)
    single = [_comparison(name, kind, a, b, tolerance, scale) for name, a, b in found]
    floats = [(a, b) for _, a, b in found if _is_float(a) and np.shape(a) == np.shape(b)]
    if len(floats) < 2:
        return single
    sides = [
        np.concatenate([np.ravel(np.asarray(pair[side], np.float64)) for pair in floats])
        for side in (0, 1)
    ]
    error, norm = _relative(*sides)
    allowed = tolerance.rtol if norm else tolerance.rtol * scale
    return [Comparison(f"all {kind}s together", kind, error, allowed), *single]


def _typical(values: Iterable[Any]) -> float:
    """The largest root mean square among floating-point values."""
    import numpy as np

    sizes = [
        float(np.sqrt(np.mean(np.square(np.asarray(v, np.float64)))))
        for v in values
        if _is_float(v) and np.asarray(v).size
    ]
    return max((s for s in sizes if np.isfinite(s)), default=0.0)


def _is_float(value: Any) -> bool:
    import numpy as np

    kind = np.asarray(value).dtype
    return kind.kind == "f" or kind.name == "bfloat16"


def _comparison(
    name: str, kind: str, old: Any, new: Any, tolerance: Tolerance, scale: float
) -> Comparison:
    import numpy as np

    a, b = np.asarray(old), np.asarray(new)
    if not _is_float(a) or a.shape != b.shape:
        same = a.shape == b.shape and a.dtype == b.dtype and bool(np.all(a == b))
        return Comparison(name, kind, 0.0 if same else float("inf"), 0.0)
    absolute = tolerance.atol
    if absolute is None:
        absolute = tolerance.single * _CANCELLATION * scale
    error, norm = _relative(a, b)
    room = absolute * float(np.sqrt(a.size))
    allowed = tolerance.single + room / norm if norm else room
    return Comparison(name, kind, error, allowed)


def _relative(a: Any, b: Any) -> tuple[float, float]:
    """``|a - b| / |a|`` in L2 norms (``|b|`` where a is zero), and ``|a|``.

    Non-numbers must be the same ones in the same places.
    """
    import numpy as np

    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    ):
        return float("inf"), 0.0
    difference = float(np.linalg.norm((a - b)[finite]))
    norm = float(np.linalg.norm(a[finite]))
    if norm == 0.0:
        return difference, 0.0
    return difference / norm, norm


def _drifts(
    after: Graph, rebuilt: list[tuple[str, TensorRef, TensorRef]], values: list[Any]
) -> tuple[Drift, ...]:
    """Per block the worst rebuilt stream; what may be rises with the streams rebuilt."""
    worst: dict[str, Drift] = {}
    for number, (block, original, ref) in enumerate(rebuilt):
        error, _ = _relative(values[2 * number], values[2 * number + 1])
        dtype = after[ref.node].attrs.get("T")
        epsilon = dtype.epsilon if isinstance(dtype, DType) else None
        known = worst.get(block, Drift(block, 0.0, str(original), 0, 0.0))
        streams = known.streams + 1
        allowed = _GROWTH * _EPSILONS_PER_HALF * streams * (epsilon or 0.0)
        larger = error > known.error
        stream = str(original) if larger else known.stream
        worst[block] = Drift(block, max(error, known.error), stream, streams, allowed)
    return tuple(worst.values())
