"""Which channels of which tensors belong together, so that they go or stay as one."""

from graphrev.analysis.channels.sweep import find_channels
from graphrev.analysis.channels.tracking import (
    Atoms,
    Block,
    BlockKind,
    Channels,
    Depthwise,
    Initial,
    Product,
    Regrouping,
    Target,
)
from graphrev.analysis.channels.weights import origin

__all__ = [
    "Atoms",
    "Block",
    "BlockKind",
    "Channels",
    "Depthwise",
    "Initial",
    "Product",
    "Regrouping",
    "Target",
    "find_channels",
    "origin",
]
