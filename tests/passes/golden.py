"""Compares a rewrite with its golden text: ``before.txt``, ``pass.txt`` and ``after.txt``."""

from __future__ import annotations

import os
from pathlib import Path

from graphrev.ir.notation import from_text, to_text
from graphrev.passes import REGISTRY
from graphrev.pipeline import run
from graphrev.pipeline.spec import parse_pass


def check_golden(folder: Path) -> None:
    """Fails unless the rewrite gives the text; ``GRAPHREV_UPDATE_GOLDEN`` writes it first."""
    before = from_text((folder / "before.txt").read_text())
    spec = (folder / "pass.txt").read_text().strip()
    after = to_text(run(before, [parse_pass(spec, REGISTRY)]).after)
    if os.environ.get("GRAPHREV_UPDATE_GOLDEN"):
        (folder / "after.txt").write_text(after)
    assert after == (folder / "after.txt").read_text()
