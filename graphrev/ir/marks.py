"""Marks: what a program said about its graph, as node attributes that survive saving.

TensorFlow keeps attributes it does not know when their names start with an underscore.

* ``_graphrev_pair``, list(string): ``b"<id>"`` on every op built under ``residual_pair``;
  ``b"<id>|x1|<output index>"`` (x1, x2, y1 or y2) where ``mark_residual_pair`` names a tensor.
  One op may carry several.
* ``_graphrev_no_rewrite``, bool: built under ``no_rewrite``; no pass may change what it does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.ir.node import Node

PAIR_ATTR = "_graphrev_pair"
NO_REWRITE_ATTR = "_graphrev_no_rewrite"
ROLES = ("x1", "x2", "y1", "y2")
_MARKS = (PAIR_ATTR, NO_REWRITE_ATTR)
_INDEX = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class PairMark:
    """One mark of a residual pair: which pair, and which of its tensors (if it names one)."""

    id: str
    role: str | None = None
    index: int = 0

    def encode(self) -> bytes:
        """The mark as it is stored in the attribute."""
        tail = "" if self.role is None else f"|{self.role}|{self.index}"
        return f"{self.id}{tail}".encode()

    @classmethod
    def decode(cls, stored: bytes) -> PairMark:
        """The mark that ``stored`` spells; anything that is no role is part of the id."""
        text = stored.decode("utf-8", "replace")
        match text.rsplit("|", 2):
            case [head, role, index] if role in ROLES and _INDEX.fullmatch(index):
                return cls(head, role, int(index))
            case _:
                return cls(text)


def pair_marks(node: Node) -> tuple[PairMark, ...]:
    """The residual-pair marks of a node, in the order they were made."""
    stored = node.attrs.get(PAIR_ATTR)
    items = stored if isinstance(stored, tuple) else (stored,)
    return tuple(PairMark.decode(item) for item in items if isinstance(item, bytes))


def is_opted_out(node: Node) -> bool:
    """Whether the node was built under ``no_rewrite``."""
    return node.attrs.get(NO_REWRITE_ATTR) is True


def without_marks(node: Node) -> Node:
    """The node as a copy may carry it: a copy is no member of the marked pair."""
    if not any(key in node.attrs for key in _MARKS):
        return node
    kept = {key: value for key, value in node.attrs.items() if key not in _MARKS}
    return node.evolve(attrs=MappingProxyType(kept))
