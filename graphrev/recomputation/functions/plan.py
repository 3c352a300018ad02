"""What is done to functions, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphrev.edits import EditLog
from graphrev.errors import printable
from graphrev.ir import Graph
from graphrev.pipeline import Rejection


@dataclass(frozen=True)
class Done:
    """What a pass did to one level.

    Attributes:
        graph: the level now; the very same graph where nothing was done.
        blocks: what was rewritten, as plain data.
        rejections: what was not, and why.
    """

    graph: Graph
    blocks: tuple[dict[str, Any], ...] = ()
    rejections: tuple[Rejection, ...] = ()


Blocks = Sequence[dict[str, Any]]
"""What was rewritten, as plain data."""

Inner = Callable[[Graph], Done]
"""A pass as far as it concerns one level."""


@dataclass(frozen=True)
class FunctionPlan:
    """What is done to a function, or to a functional node and its gradient.

    Attributes:
        node: the functional node, or the function's name where its body was rewritten by itself.
        gradient: the gradient node; empty where there is none.
        blocks: what was rewritten, as plain data.
        carried: how many loop variables the gradient loop carries.
        dropped: how many values no longer travel to the gradient.
        added: how many do instead.
        anchor_every: carried variables are saved once in so many iterations; ``None``: never.
    """

    node: str
    gradient: str
    blocks: tuple[dict[str, Any], ...]
    carried: int = 0
    dropped: int = 0
    added: int = 0
    anchor_every: int | None = None

    def describe(self) -> str:
        """The plan in one line, safe to print."""
        head = f"function {printable(self.node)}"
        if self.gradient:
            head = f"{printable(self.node)} and its gradient {printable(self.gradient)}"
        names = ", ".join(printable(str(block["name"])) for block in self.blocks) or "inside"
        carried = f", {self.carried} loop variables carried back" if self.carried else ""
        tail = f"{carried}, {self.dropped} values not saved, {self.added} instead"
        if self.anchor_every is not None:
            tail += f", saved every {self.anchor_every}"
        elif self.carried:
            tail += ", no anchors: more drift where the streams grow"
        return f"{head}: {names}{tail}{_drift(self.blocks)}"

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "node": self.node,
            "gradient": self.gradient,
            "blocks": list(self.blocks),
            "carried_variables": self.carried,
            "values_no_longer_saved": self.dropped,
            "values_saved_instead": self.added,
            "anchor_every": self.anchor_every,
        }


def _drift(blocks: Blocks) -> str:
    """The estimated drift of one run through a body, where the pass estimates any."""
    found = [block["estimated_drift"] for block in blocks if "estimated_drift" in block]
    return f", drift about {max(found):.1e} each time" if found else ""


@dataclass
class FunctionsDone:
    """The outcome for all functions of a graph."""

    graph: Graph
    edits: EditLog = ()
    plans: list[FunctionPlan] = field(default_factory=list[FunctionPlan])
    rejections: list[Rejection] = field(default_factory=list[Rejection])
