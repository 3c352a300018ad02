"""The layer calls that left TensorFlow with contrib, for TensorFlow 2.

Nothing is imported, TensorFlow least of all, before a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrev.layers.network import (
        Network,
        Sequential,
        restore_network_checkpoint,
        save_network_checkpoint,
    )
    from graphrev.layers.rev_block import RevBlock, rev_block

_HOMES = {
    "Network": "graphrev.layers.network",
    "RevBlock": "graphrev.layers.rev_block",
    "Sequential": "graphrev.layers.network",
    "restore_network_checkpoint": "graphrev.layers.network",
    "rev_block": "graphrev.layers.rev_block",
    "save_network_checkpoint": "graphrev.layers.network",
}

__all__ = [
    "Network",
    "RevBlock",
    "Sequential",
    "restore_network_checkpoint",
    "rev_block",
    "save_network_checkpoint",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'graphrev.layers' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
