"""Targets from a file: what ``graphrev sensitivity --sparsity S -o FILE.json`` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from graphrev.errors import UsageError, printable


def expanded(targets: Iterable[str]) -> Iterator[str]:
    """``targets`` with each ``FILE.json`` replaced by the targets it lists.

    Raises:
        UsageError: a file cannot be read or lists none.
    """
    for entry in targets:
        if entry.endswith(".json"):
            yield from _listed(Path(entry))
        else:
            yield entry


def _listed(path: Path) -> list[str]:
    shown = printable(str(path))
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = printable(str(error), 200)
        raise UsageError(f"mask: the targets of '{shown}' cannot be read: {said}.") from None
    found: Any = data.get("targets") if isinstance(data, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(x, str) for x in found):
        raise UsageError(
            f"mask: '{shown}' lists no targets. Write it with graphrev sensitivity --sparsity S."
        )
    return found
