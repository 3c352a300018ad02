"""The programs in the documentation run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {"layers": 5, "pruning": 2, "shrink": 1}
PROGRAMS = {
    page: re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
    for page in PAGES
}


@pytest.mark.parametrize(("page", "number"), [(p, n) for p in PAGES for n in range(PAGES[p])])
def test_program_runs(page: str, number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[page][number])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", str(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]


def test_every_program_was_found() -> None:
    assert {page: len(programs) for page, programs in PROGRAMS.items()} == PAGES
