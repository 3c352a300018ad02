"""The layer calls that left TensorFlow with contrib, for TensorFlow 2.

Nothing is imported, TensorFlow least of all, before a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrev.layers.rev_block import RevBlock, rev_block

_HOMES = {
    "RevBlock": "graphrev.layers.rev_block",
    "rev_block": "graphrev.layers.rev_block",
}

__all__ = ["RevBlock", "rev_block"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'graphrev.layers' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
