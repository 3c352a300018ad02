"""Random ops of a block whose numbers are drawn again instead of kept."""

from __future__ import annotations

from graphrev.editor import GraphEditor
from graphrev.ir import TensorRef
from graphrev.passes.reversible.plan import Replay
from graphrev.recomputation.stateless import add_seed, replace_by_twin, twin_node

__all__ = ["add_seed", "add_twin", "twin_node"]


def add_twin(replay: Replay, seed: TensorRef, editor: GraphEditor) -> None:
    """Adds the stateless twin of a random op and makes every reader of the op read it."""
    replace_by_twin(replay.node, replay.twin, seed, editor)
