"""Shows what is being done once it has taken more than two seconds, on a terminal only."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any

_PATIENCE = 2.0
"""Seconds before anything is shown."""


class Stages:
    """A progress bar on standard error; calling it names the stage that begins."""

    def __init__(self) -> None:
        self._phrase = ""
        self._done: float | None = None
        self._display: Any = None
        self._task: Any = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(_PATIENCE, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Stages:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._display is not None:
                self._display.stop()

    def __call__(self, phrase: str) -> None:
        """Begins a stage."""
        with self._lock:
            self._phrase, self._done = phrase, None
            self._update()

    def advance(self, done: int, total: int) -> None:
        """Says how much of the stage is done."""
        with self._lock:
            self._done = done / total if total else None
            self._update()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            self._display = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._display.add_task(self._phrase, total=None)
            self._display.start()

    def _update(self) -> None:
        if self._display is None:
            return
        total = None if self._done is None else 1.0
        self._display.update(
            self._task, description=self._phrase, total=total, completed=self._done or 0.0
        )
