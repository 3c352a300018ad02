"""Before and after in the notation: what is cut, what is folded where, what is left alone.

``GRAPHREV_UPDATE_GOLDEN=1 pytest tests/passes/shrink/test_golden.py`` writes the after files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.passes.golden import check_golden

GOLDEN = Path(__file__).parents[2] / "golden" / "shrink"


@pytest.mark.parametrize("case", sorted(path.name for path in GOLDEN.iterdir()))
def test_rewrite_matches_the_golden_text(case: str) -> None:
    check_golden(GOLDEN / case)
