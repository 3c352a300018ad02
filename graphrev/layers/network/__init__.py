"""``tf.contrib.eager.Network`` and its checkpoints, for TensorFlow 2."""

from __future__ import annotations

from graphrev.layers.network.errors import (
    NetworkAttributeError,
    NetworkNotImplementedError,
    NetworkStateError,
    NetworkTypeError,
    NetworkValueError,
)
from graphrev.layers.network.network import Network
from graphrev.layers.network.restoring import restore_network_checkpoint
from graphrev.layers.network.saving import save_network_checkpoint
from graphrev.layers.network.sequential import Sequential

__all__ = [
    "Network",
    "NetworkAttributeError",
    "NetworkNotImplementedError",
    "NetworkStateError",
    "NetworkTypeError",
    "NetworkValueError",
    "Sequential",
    "restore_network_checkpoint",
    "save_network_checkpoint",
]
