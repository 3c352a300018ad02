"""Shows that holding recomputation back cannot make the graph wait for itself.

Every half has a rank: the place of its sum in the topological order, so a later half ranks higher.
A backward reader has the rank of the half whose values it is to read. Let ``low(n)`` be the lowest
rank among the readers that node ``n`` is or depends on.

Copies of a half with rank r feed only readers of rank r and streams read at lower ranks; all that
follows from those has ``low <= r``. If everything that the copies of a half with rank r wait for
or read from outside has ``low > r``, then a way from the copies of one half to those of another
always leads to a lower rank, and none can lead back. One sweep over the graph computes ``low``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphrev.passes.reversible.surroundings import Surroundings

UNREACHED = math.inf


def lowest_ranks(around: Surroundings, ranks: Mapping[str, float]) -> list[float]:
    """``low`` of every node id, given the ranks of the readers."""
    index = around.index
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
