"""Before and after in the notation: what is added, what is rewired, what is left alone.

``GRAPHREV_UPDATE_GOLDEN=1 pytest tests/passes/reversible/test_golden.py`` writes the after files.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graphrev.ir.notation import from_text, to_text
from graphrev.passes import REGISTRY
from graphrev.pipeline import run
from graphrev.pipeline.spec import parse_pass

GOLDEN = Path(__file__).parents[2] / "golden" / "reversible"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


@pytest.mark.parametrize("case", CASES)
def test_rewrite_matches_the_golden_text(case: str) -> None:
    folder = GOLDEN / case
    before = from_text((folder / "before.txt").read_text())
    spec = (folder / "pass.txt").read_text().strip()
    after = to_text(run(before, [parse_pass(spec, REGISTRY)]).after)
    if os.environ.get("GRAPHREV_UPDATE_GOLDEN"):
        (folder / "after.txt").write_text(after)
    assert after == (folder / "after.txt").read_text()
