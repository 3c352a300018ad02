"""The lowest rank that a node depends on: the heart of the proof that no cycle is made."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphrev.ir.index import GraphIndex

UNREACHED = math.inf


def lowest_ranks(index: GraphIndex, ranks: Mapping[str, float]) -> list[float]:
    """``low`` of every node id, given the ranks of the readers."""
    low = [UNREACHED] * len(index.names)
    for name, rank in ranks.items():
        low[index.ids[name]] = rank
    for node_id in index.order:
        lowest = low[node_id]
        for source in index.data_inputs[node_id]:
            lowest = min(lowest, low[source])
        for source in index.control_inputs[node_id]:
            lowest = min(lowest, low[source])
        low[node_id] = lowest
    return low
