"""What a run did, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from graphrev.analysis.crossings import Crossing, new_crossings
from graphrev.analysis.frames_summary import Place, places
from graphrev.analysis.liveness import MemoryProfile, predict_step
from graphrev.edits import Edit
from graphrev.errors import printable
from graphrev.ir import Graph, Shape
from graphrev.ir.verify import problems
from graphrev.pipeline import Rejection, Run, Step
from graphrev.verification import Validation, Verification

_SHOWN = 20
_PLACES_SHOWN = 50


@dataclass(frozen=True)
class Report:
    """The outcome of analyzing or rewriting a graph.

    Attributes:
        source: what was read.
        run: the passes with their plans and edits.
        targets: the ops a training step runs, where the file names them.
        feeds: shapes of what is fed, for predicting memory.
        validation: how the outcome was validated beyond the structure after each pass, if it was.
    """

    source: str
    run: Run
    targets: tuple[str, ...] = ()
    feeds: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    validation: Validation | None = None

    @property
    def verification(self) -> Verification | None:
        """The numeric comparison, if one was made."""
        return self.validation.verification if self.validation else None

    @property
    def steps(self) -> tuple[Step, ...]:
        """One step per pass, in order."""
        return self.run.steps

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Why near misses were left alone, over all passes."""
        return tuple(r for step in self.steps for r in step.plan.rejections)

    @property
    def changed(self) -> bool:
        """Whether any pass changes the graph."""
        return self.run.after is not self.run.before

    @cached_property
    def memory_before(self) -> MemoryProfile:
        """Predicted activation memory of a step as the graph was."""
        return self._memory(self.run.before)

    @cached_property
    def memory_after(self) -> MemoryProfile:
        """Predicted activation memory of a step as the graph is now."""
        return self._memory(self.run.after) if self.changed else self.memory_before

    def _memory(self, graph: Graph) -> MemoryProfile:
        return predict_step(graph, self.targets, self.feeds)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The loops and branches of the input, with their sizes."""
        return places(self.run.before)

    @cached_property
    def new_crossings(self) -> tuple[Crossing, ...]:
        """The tensors that cross from one device to another and did not before."""
        return new_crossings(self.run.before, self.run.after, self.feeds)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What TensorFlow itself would mind about the input."""
        return tuple(p.message for p in problems(self.run.before) if not p.is_error)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "source": self.source,
            "nodes": {"before": len(self.run.before), "after": len(self.run.after)},
            "functions": len(self.run.before.functions),
            "predicted_peak_bytes": {
                "before": self.memory_before.to_json(),
                "after": self.memory_after.to_json(),
            },
            "passes": [_step_json(step) for step in self.steps],
            "control_flow": [place.to_json() for place in self.places],
            "new_crossings": [asdict(item) for item in self.new_crossings],
            "warnings": list(self.warnings),
            "validation": self.validation.to_json() if self.validation else None,
            "verification": self.verification.to_json() if self.verification else None,
        }

    def to_text(self, *, memory: bool = True) -> str:
        """The report for people; names are made safe to print."""
        before, after = len(self.run.before), len(self.run.after)
        nodes = f"{before} nodes" if before == after else f"{before} nodes, {after} afterwards"
        lines = [f"{printable(self.source)}: {nodes}"]
        lines.extend(f"warning: {text}" for text in self.warnings[:_SHOWN])
        lines.extend(printable(str(place), 200) for place in self.places[:_PLACES_SHOWN])
        if len(self.places) > _PLACES_SHOWN:
            lines.append(f"… and {len(self.places) - _PLACES_SHOWN} more loops and branches")
        for step in self.steps:
            lines.extend(_step_lines(step))
        lines.extend(f"newly crosses devices: {item}" for item in self.new_crossings[:_SHOWN])
        if len(self.new_crossings) > _SHOWN:
            lines.append(f"… and {len(self.new_crossings) - _SHOWN} more that cross devices")
        if memory:
            lines.extend(self._memory_lines())
        if self.validation is not None:
            lines.append(self.validation.to_text())
        return "\n".join(lines)

    def _memory_lines(self) -> list[str]:
        before, after = self.memory_before, self.memory_after
        line = f"predicted peak of a step: {megabytes(before.peak_bytes)}"
        if self.changed:
            line += f", {megabytes(after.peak_bytes)} afterwards"
        unknown = len(before.unknown)
        if not unknown:
            return [line]
        return [
            line,
            f"  {unknown} tensors of unknown size are not counted; give the batch size with "
            "--feed NAME=SHAPE",
        ]


def megabytes(count: int | None) -> str:
    """Bytes as megabytes (10^6), for people."""
    return "an unknown number of MB" if count is None else f"{count / 1e6:.1f} MB"


def options_of(step: Step) -> dict[str, Any]:
    """The options of the pass that a step ran."""
    found: dict[str, Any] = {}
    for item in fields(step.pass_):
        value = getattr(step.pass_, item.name)
        found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "name": step.pass_.name,
        "options": options_of(step),
        "summary": step.plan.summary(),
        "plan": step.plan.to_json(),
        "edits": _edit_counts(step.edits),
        "rejections": [
            {"code": r.code.value, "reason": r.reason, "nodes": list(r.nodes)}
            for r in step.plan.rejections
        ],
    }


def _edit_counts(edits: tuple[Edit, ...]) -> dict[str, int]:
    counts = Counter(type(edit).__name__ for edit in edits)
    return dict(sorted(counts.items()))


def _step_lines(step: Step) -> list[str]:
    lines = [f"{step.pass_.name}: {step.plan.summary()}"]
    lines.extend(f"  {line}" for line in step.plan.describe())
    rejected = step.plan.rejections
    counts = Counter(r.code.value for r in rejected)
    shown: Counter[str] = Counter()
    for rejection in rejected:
        shown[rejection.code.value] += 1
        if shown[rejection.code.value] <= 3:
            reason = printable(rejection.reason, 300)
            lines.append(f"  left alone ({rejection.code.value}): {reason}")
    lines.extend(
        f"  … and {count - 3} more left alone ({code})"
        for code, count in sorted(counts.items())
        if count > 3
    )
    return lines
