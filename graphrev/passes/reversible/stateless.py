"""Random ops of a block whose numbers are drawn again instead of kept."""

from __future__ import annotations

from graphrev.editor import GraphEditor
from graphrev.ir import TensorRef
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.passes.reversible.uses import Candidate
from graphrev.recomputation.stateless import add_seed, replace_by_twin, twin_node
from graphrev.recomputation.steps import Replay, replays

__all__ = ["add_seed", "add_twin", "replayed_in", "twin_node"]


def replayed_in(
    around: Surroundings, item: Candidate, replayed: frozenset[str]
) -> tuple[Replay, ...]:
    """Those of the random ops ``replayed`` that lie in the regions of ``item``."""
    inside = (name for region in item.regions for name in region.nodes if name in replayed)
    return tuple(replays(around.graph, inside))


def add_twin(replay: Replay, seed: TensorRef, editor: GraphEditor) -> None:
    """Adds the stateless twin of a random op and makes every reader of the op read it."""
    replace_by_twin(replay.node, replay.twin, seed, editor)
