"""Runs a program of these tests under genuine TensorFlow 1.15."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tools.oracle import environment, find_oracle


def under_tensorflow_1(program: ModuleType, folder: Path) -> Callable[[str], None]:
    """Calls ``program`` with a command and ``folder``; the test is skipped where it cannot run."""
    python, why = find_oracle(install=False)
    if python is None:
        pytest.skip(why)

    def run(what: str) -> None:
        command = [str(python), "-W", "ignore", str(program.__file__), what, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr[-2000:]

    return run
