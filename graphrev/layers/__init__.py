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
    from graphrev.pruning import (
        MaskedBasicLSTMCell,
        MaskedLSTMCell,
        masked_conv2d,
        masked_convolution,
        masked_fully_connected,
    )

_HOMES = {
    "AbstractRecomputeWrapper": "graphrev.layers.recompute_wrapper",
    "MaskedBasicLSTMCell": "graphrev.pruning",
    "MaskedLSTMCell": "graphrev.pruning",
    "Network": "graphrev.layers.network",
    "RevBlock": "graphrev.layers.reversible",
    "Sequential": "graphrev.layers.network",
    "masked_conv2d": "graphrev.pruning",
    "masked_convolution": "graphrev.pruning",
    "masked_fully_connected": "graphrev.pruning",
    "recompute_grad": "graphrev.layers.recomputing",
    "restore_network_checkpoint": "graphrev.layers.network",
    "rev_block": "graphrev.layers.reversible",
    "save_network_checkpoint": "graphrev.layers.network",
}

__all__ = [
    "AbstractRecomputeWrapper",
    "MaskedBasicLSTMCell",
    "MaskedLSTMCell",
    "Network",
    "RevBlock",
    "Sequential",
    "masked_conv2d",
    "masked_convolution",
    "masked_fully_connected",
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
