"""When two values count as equal.

A rewrite that only recomputes is bitwise exact but for sums in another order: 64
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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphrev.ir import DType
from graphrev.verification.result import Comparison, Drift

_FLOOR = 64
_ROOM = 8
GROWTH = 64
"""The drift of a stream may be this many times its estimate."""
_CANCELLATION = 0.01


@dataclass(frozen=True)
class Tolerance:
    """Allowed errors (all values of a kind together; a single tensor) and where they come from."""

    rtol: float
    single: float
    atol: float | None
    reason: str


def tolerance(drifts: tuple[Drift, ...], given: tuple[float | None, float | None]) -> Tolerance:
    """What may differ, from the measured drift or as the caller wants it."""
    rtol, atol = given
    if rtol is not None:
        return Tolerance(rtol, rtol, atol, "given by the caller")
    if not drifts:
        bound = _FLOOR * (DType.FLOAT.epsilon or 0.0)
        return Tolerance(bound, bound, atol, f"{_FLOOR} epsilons, for sums in another order")
    drift = max(max(d.error, d.allowed / GROWTH) for d in drifts)
    bound = _ROOM * drift
    reason = f"{_ROOM} x the drift of rebuilt streams, {drift:.1e}; its root for a single tensor"
    return Tolerance(bound, min(1.0, bound) ** 0.5, atol, reason)


def of_kind(
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
    error, norm = relative(*sides)
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
    error, norm = relative(a, b)
    room = absolute * float(np.sqrt(a.size))
    allowed = tolerance.single + room / norm if norm else room
    return Comparison(name, kind, error, allowed)


def relative(a: Any, b: Any) -> tuple[float, float]:
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
