"""Compares with a file in ``tests/golden/diff``; ``GRAPHREV_UPDATE_GOLDEN=1`` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "golden/diff"


def assert_golden(name: str, text: str) -> None:
    file = _FOLDER / name
    if os.environ.get("GRAPHREV_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{name} differs from its golden file"
