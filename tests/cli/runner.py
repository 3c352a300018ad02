"""Runs the command line in this process, as a shell would see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from graphrev.cli import main


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def invoke(capsys: pytest.CaptureFixture[str], *args: str | Path) -> Outcome:
    """Runs ``graphrev`` with ``args``."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    printed = capsys.readouterr()
    code = stop.value.code
    return Outcome(code if isinstance(code, int) else -1, printed.out, printed.err)


def assert_inert(text: str) -> None:
    """Nothing in ``text`` that a terminal would obey, line ends aside."""
    assert all(char == "\n" or char.isprintable() for char in text), ascii(text)


def assert_refused(outcome: Outcome, code: int, *said: str | Path) -> None:
    """One paragraph on standard error that says ``said``, and nothing else."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("graphrev: ")
    assert outcome.err.endswith("\n")
    assert "\n" not in outcome.err[:-1]
    assert "Traceback" not in outcome.err
    assert_inert(outcome.err)
    for part in said:
        assert str(part) in outcome.err, outcome.err
