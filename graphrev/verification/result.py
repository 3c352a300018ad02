"""The outcome of a verification, as plain data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from graphrev.errors import printable


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value of both graphs.

    Attributes:
        name: the tensor, or the variable after the step.
        kind: ``output``, ``gradient``, ``variable``; or ``race``, for a read that only the second
            graph leaves unordered with a write.
        error: L2 norm of the difference over the L2 norm of the value before (0 for equal values,
            infinity where shapes or non-numbers differ).
        allowed: the largest error that counts as equal for this value.
    """

    name: str
    kind: str
    error: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the values count as equal."""
        return self.error <= self.allowed


@dataclass(frozen=True, slots=True)
class Drift:
    """Measured rounding drift of a block: relative L2 error of its worst rebuilt stream.

    Attributes:
        streams: how many streams the block rebuilds.
        allowed: the largest drift that is taken for rounding.
    """

    block: str
    error: float
    stream: str
    streams: int
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the drift can be rounding."""
        return self.error <= self.allowed


@dataclass(frozen=True)
class Verification:
    """Whether two graphs compute the same.

    Attributes:
        comparisons: every value that was compared.
        drifts: per block, how far rebuilt streams are from the originals.
        rtol: allowed relative L2 error.
        atol: allowed absolute error per element (root mean square).
        reason: where the tolerance comes from.
        notes: what could not be compared, and what was made up to run the graphs.
    """

    comparisons: tuple[Comparison, ...]
    drifts: tuple[Drift, ...]
    rtol: float
    atol: float
    reason: str
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether values were compared, all are equal within tolerance, and drift is rounding."""
        return bool(self.comparisons) and all(item.ok for item in (*self.comparisons, *self.drifts))

    def __bool__(self) -> bool:
        return self.ok

    def worst(self, kind: str) -> Comparison | None:
        """The comparison of a kind with the largest error."""
        found = [item for item in self.comparisons if item.kind == kind]
        return max(found, key=lambda item: item.error, default=None)

    def to_json(self) -> dict[str, Any]:
        """The verification as plain data."""
        return {
            "equal": self.ok,
            "rtol": self.rtol,
            "atol": self.atol,
            "reason": self.reason,
            "comparisons": [asdict(item) | {"equal": item.ok} for item in self.comparisons],
            "drift": [asdict(item) | {"ok": item.ok} for item in self.drifts],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """The verification for people."""
        lines = [f"{'equal' if self.ok else 'NOT EQUAL'} (rtol {self.rtol:.2g}: {self.reason})"]
        for kind in ("output", "gradient", "variable"):
            worst = self.worst(kind)
            if worst is not None:
                count = sum(item.kind == kind for item in self.comparisons)
                lines.append(
                    f"  {count} {kind}s, largest relative error {worst.error:.2e} "
                    f"({printable(worst.name)})"
                )
        lines.extend(
            f"  block {printable(d.block)}: drift {d.error:.2e} over {d.streams} rebuilt streams"
            + ("" if d.ok else f", MORE than {d.allowed:.2e}: save anchors (anchor_every=k)")
            for d in self.drifts
        )
        lines.extend(
            f"  differs: {item.kind} {printable(item.name)}: {item.error:.2e}, "
            f"allowed {item.allowed:.2e}"
            for item in self.comparisons
            if not item.ok
        )
        lines.extend(f"  note: {note}" for note in self.notes)
        return "\n".join(lines)
