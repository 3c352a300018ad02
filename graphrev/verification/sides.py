"""Two graphs in sessions of their own, brought to one state and run one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from graphrev.ir import Graph, TensorRef
from graphrev.verification.choices import Fetches
from graphrev.verification.recording import RecordedRunner
from graphrev.verification.sessions import DeadTensorError, Runner

Pair = tuple[str, str, Any, Any]
"""A value's name, its kind, and what either graph makes of it."""


@dataclass(frozen=True, eq=False)
class Sides:
    """Both graphs in sessions, with what every run starts from."""

    before: Graph
    after: Graph
    first: Runner | RecordedRunner
    second: Runner
    values: Mapping[str, Any]
    feeds: Mapping[TensorRef, Any]
    seeds: Mapping[TensorRef, Any]
    """What the second graph is fed in addition: the seeds of its stateless ops."""

    def load(self) -> None:
        """Gives all variables the values they start from."""
        self.first.load(self.values)
        self.second.load(self.values)

    def reopen(self) -> None:
        """Starts both sessions anew, so that random ops of both stand where they stood."""
        self.first.reopen()
        self.second.reopen()

    def run(
        self, chosen: Fetches, probes: Sequence[TensorRef] = ()
    ) -> tuple[list[Pair], list[Any]]:
        """One step of both graphs: what they compute, and the second graph's ``probes``."""
        tensors = (*chosen.outputs, *chosen.gradients)
        self.load()
        fed = {**self.feeds, **self.seeds}
        results = self.second.run((*tensors, *probes), chosen.targets_after, fed)
        theirs = self.first.run(tensors, chosen.targets, self.feeds)
        pairs = [
            (str(ref), "output" if i < len(chosen.outputs) else "gradient", a, b)
            for i, (ref, a, b) in enumerate(zip(tensors, theirs, results))
        ]
        if chosen.targets or chosen.targets_after:
            pairs.extend(self.variables())
        return pairs, results[len(tensors) :]

    def variables(self) -> list[Pair]:
        """The variables as they are now."""
        old, new = self.first.variables(), self.second.variables()
        return [(name, "variable", old[name], new[name]) for name in old if name in new]

    def without_dead_gradients(self, chosen: Fetches) -> tuple[Fetches, tuple[str, ...]]:
        """The fetches without gradients that the first graph does not compute in this step.

        A training step that waits for an update in a branch (batch norm's, in a cond) has no
        gradients where the branch is not taken, and trains nothing. The variables show whether
        the second graph does so too.
        """
        alive = tuple(self._living(self.first, chosen.gradients, self.feeds))
        dead = len(chosen.gradients) - len(alive)
        noted = (f"{dead} gradients have no value in this step, where a branch is not taken",)
        return replace(chosen, gradients=alive), noted if dead else ()

    def without_lost_gradients(self, chosen: Fetches) -> tuple[Fetches, tuple[TensorRef, ...]]:
        """The fetches without gradients that only the second graph does not compute, and those."""
        fed = {**self.feeds, **self.seeds}
        alive = tuple(self._living(self.second, chosen.gradients, fed))
        lost = tuple(ref for ref in chosen.gradients if ref not in alive)
        return replace(chosen, gradients=alive), lost

    def living_probes(self, probes: Sequence[TensorRef]) -> frozenset[TensorRef]:
        """Those of the second graph's tensors that have a value in this step."""
        return frozenset(self._living(self.second, probes, {**self.feeds, **self.seeds}))

    def _living(
        self,
        session: Runner | RecordedRunner,
        tensors: Sequence[TensorRef],
        feeds: Mapping[TensorRef, Any],
    ) -> Iterator[TensorRef]:
        """Those that have a value in this step, each found out in a step of its own.

        Every step starts from the same values: which branch it takes may depend on a counter, as
        where gradients of several steps are summed before they are applied.
        """
        for ref in tensors:
            session.load(self.values)
            try:
                session.run([ref], (), feeds)
            except DeadTensorError:
                continue
            yield ref
