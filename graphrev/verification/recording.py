"""Remembers what a graph's session answers, for a graph that many others are compared with.

A private copy of a graph has fixed seeds, so what its session answers follows from the calls made
since it was opened. Answers are kept by those calls; a session is opened only for a call that was
never made after the same ones, and then gets them all first, so that random ops stand where they
stood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphrev.ir import Graph, TensorRef
from graphrev.verification.sessions import Runner

_Call = tuple[str, Callable[[Runner], Any]]


class Recording:
    """The answers of one graph's sessions.

    Args:
        graph: the graph.
        grappler: whether TensorFlow optimizes it before it runs it.
    """

    def __init__(self, graph: Graph, *, grappler: bool = True) -> None:
        self.graph, self.grappler = graph, grappler
        self.answers: dict[tuple[str, ...], Any] = {}


class RecordedRunner:
    """A session as :class:`~graphrev.verification.sessions.Runner`, opened only when needed."""

    def __init__(self, recording: Recording, which: str) -> None:
        self._recording, self._which = recording, which
        self._calls: list[_Call] = []
        self._runner: Runner | None = None

    def __enter__(self) -> RecordedRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.reopen()

    def reopen(self) -> None:
        """Starts anew: what is asked next follows no call."""
        if self._runner is not None:
            self._runner.__exit__()
        self._runner, self._calls = None, []

    def initial_values(self) -> dict[str, Any]:
        """The variables' values as the graph's own initializers make them."""
        return dict(self._ask("initial values", lambda runner: runner.initial_values()))

    def load(self, values: Mapping[str, Any]) -> None:
        """Gives the variables their values; a variable of another name is ignored."""
        own = {name: v for name, v in values.items() if name in self._recording.graph.nodes}
        self._ask(f"load {_digest(own)}", lambda runner: runner.load(own))

    def variables(self) -> dict[str, Any]:
        """The variables' present values."""
        return dict(self._ask("variables", lambda runner: runner.variables()))

    def run(
        self, tensors: Iterable[TensorRef], targets: Iterable[str], feeds: Mapping[TensorRef, Any]
    ) -> list[Any]:
        """One step: the values of ``tensors`` while ``targets`` run too."""
        fetched, also, fed = tuple(tensors), tuple(targets), dict(feeds)
        named = f"run {fetched!r} {also!r} {_digest({str(ref): v for ref, v in fed.items()})}"
        return list(self._ask(named, lambda runner: runner.run(fetched, also, fed)))

    def _ask(self, named: str, call: Callable[[Runner], Any]) -> Any:
        before = list(self._calls)
        self._calls.append((named, call))
        made = tuple(name for name, _ in self._calls)
        answers = self._recording.answers
        if self._runner is None and made in answers:
            return answers[made]
        if self._runner is None:
            recording = self._recording
            self._runner = Runner(recording.graph, self._which, grappler=recording.grappler)
            for _, earlier in before:
                earlier(self._runner)
        answers[made] = call(self._runner)
        return answers[made]


def _digest(values: Mapping[str, Any]) -> str:
    """A fingerprint of named arrays."""
    import numpy as np

    found = hashlib.sha256()
    for name in sorted(values):
        array = np.asarray(values[name])
        found.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()
