"""Validates a rewrite: by structure alone, or by running both graphs; names the pass that failed.

Every pass's result is checked for structure in any case (:func:`graphrev.pipeline.run`). Running
both graphs costs a start of TensorFlow and a few steps of training, so it is done unasked only for
graphs small enough to take seconds, and a graph that cannot be run is no failure then: what was
done instead is said. Source of the idea: Lopes, Lee, Hur, Liu, Regehr, "Alive2: Bounded Translation
Validation for LLVM", PLDI 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from graphrev.analysis.liveness import predict_step
from graphrev.errors import GraphrevError, printable
from graphrev.ir import Shape
from graphrev.pipeline import Run, Step
from graphrev.verification.equivalence import verify
from graphrev.verification.result import Verification

How = Literal["off", "structure", "numeric"]
MOST_NODES = 3_000
"""Nodes of a graph that is run unasked."""
MOST_BYTES = 100_000_000
"""Predicted activation bytes of a step that is run unasked."""
SECONDS = 10.0
"""What running both graphs unasked may take."""


@dataclass(frozen=True)
class Validation:
    """How a rewrite was validated, and what came of it.

    Attributes:
        how: what was done: nothing beyond what every run does, structure, or a run of both graphs.
        reason: why no more was done; empty for a run.
        verification: what the run compared.
        failed: the step after which the graphs differ, and its number from 1.
    """

    how: How
    reason: str = ""
    verification: Verification | None = None
    failed: tuple[int, Step] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return self.verification is None or self.verification.ok

    def to_json(self) -> dict[str, Any]:
        """The validation as plain data, the comparisons aside."""
        failed = None if self.failed is None else self.failed[1].pass_.name
        return {"how": self.how, "reason": self.reason, "ok": self.ok, "failed_pass": failed}

    def to_text(self) -> str:
        """The validation for people."""
        if self.verification is None:
            said = f"{self.how} only" if self.how == "structure" else self.how
            return f"verification: {said}: {printable(self.reason, 400)}"
        lines = [f"verification: numeric: {self.verification.to_text()}"]
        if self.failed is not None:
            number, step = self.failed
            lines.append(f"  the graphs differ since pass {number}, '{step.pass_.name}'")
        return "\n".join(lines)


def validate(
    run: Run,
    asked: How | None,
    *,
    feeds: Mapping[str, Shape] | None = None,
    targets: Iterable[str] = (),
) -> Validation:
    """Validates the outcome of a run of passes.

    Args:
        run: what the passes made; its graphs hold structurally.
        asked: what the caller wants; ``None`` for what is cheap.
        feeds: shapes of what is fed, by placeholder name.
        targets: the training ops, where the caller knows them.

    Raises:
        VerificationError: a numeric comparison was asked for and cannot be made.
    """
    if asked == "off":
        return Validation("off", "as asked; each pass left a valid structure")
    if asked == "structure":
        return Validation("structure", "as asked")
    if any(step.edits and step.plan.checkpoint() is not None for step in run.steps):
        return Validation("structure", "variables changed their shapes, so they cannot be made up")
    given, named = dict(feeds or {}), tuple(targets)
    if asked == "numeric":
        return _compared(run, given, named, {})
    reason = too_much(run, given, named)
    if reason:
        return Validation("structure", reason)
    try:
        return _compared(run, given, named, {"seconds": SECONDS, "contained": True})
    except GraphrevError as error:
        return Validation("structure", f"the graphs could not be run: {error}")


def too_much(run: Run, feeds: Mapping[str, Shape], targets: tuple[str, ...]) -> str:
    """Why a run's graphs are not run unasked; empty where they are."""
    if not run.edits:
        return "nothing was changed"
    nodes = max(len(run.before), len(run.after))
    if nodes > MOST_NODES:
        return f"{nodes} nodes, over {MOST_NODES}; --verify=numeric runs both graphs all the same"
    steps = (predict_step(graph, targets, feeds) for graph in (run.before, run.after))
    peak = max(step.peak_bytes or 0 for step in steps)
    if peak > MOST_BYTES:
        return (
            f"a step is predicted to take {peak / 1e6:.0f} MB, over {MOST_BYTES / 1e6:.0f}; "
            "--verify=numeric runs both graphs all the same"
        )
    return ""


def _compared(
    run: Run, feeds: Mapping[str, Shape], targets: tuple[str, ...], limits: dict[str, Any]
) -> Validation:
    outcome = verify(run.before, run.after, feeds=feeds, targets=targets, **limits)
    failed = None if outcome.ok else _first_failure(run, feeds, targets)
    return Validation("numeric", "", outcome, failed)


def _first_failure(
    run: Run, feeds: Mapping[str, Shape], targets: tuple[str, ...]
) -> tuple[int, Step] | None:
    """The first step whose own two graphs differ; the only one that changed anything is it."""
    changed = [(number, step) for number, step in enumerate(run.steps, 1) if step.edits]
    if len(changed) == 1:
        return changed[0]
    for number, step in changed:
        try:
            if not verify(step.before, step.after, feeds=feeds, targets=targets).ok:
                return number, step
        except GraphrevError:
            continue
    return changed[-1]
