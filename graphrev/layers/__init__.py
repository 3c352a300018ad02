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
    from graphrev.layers.recompute_wrapper import AbstractRecomputeWrapper
    from graphrev.layers.recomputing import recompute_grad
    from graphrev.layers.reversible import RevBlock, rev_block

_HOMES = {
    "AbstractRecomputeWrapper": "graphrev.layers.recompute_wrapper",
    "Network": "graphrev.layers.network",
    "RevBlock": "graphrev.layers.reversible",
    "Sequential": "graphrev.layers.network",
    "recompute_grad": "graphrev.layers.recomputing",
    "restore_network_checkpoint": "graphrev.layers.network",
    "rev_block": "graphrev.layers.reversible",
    "save_network_checkpoint": "graphrev.layers.network",
}

__all__ = [
    "AbstractRecomputeWrapper",
    "Network",
    "RevBlock",
    "Sequential",
    "recompute_grad",
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
