"""Marks: what a program said about its graph, as node attributes that survive saving.

TensorFlow keeps attributes it does not know when their names start with an underscore.

* ``_graphrev_pair``, list(string): ``b"<id>"`` on every op built under ``residual_pair``;
  ``b"<id>|x1|<output index>"`` (x1, x2, y1 or y2) where ``mark_residual_pair`` names a tensor.
  One op may carry several.
* ``_graphrev_recompute``, list(string): the ids of the ``recompute_scope`` calls that the op was
  built under, outermost first; the op belongs to the last, the innermost.
* ``_graphrev_no_rewrite``, bool: built under ``no_rewrite``; no pass may change what it does.
* ``_graphrev_prunable``, bool: built under ``prunable``; its kernels are to be masked.
* ``_graphrev_group``, list(string): the names given to ``prunable``, outermost first.

And what passes record on the nodes they add:

* ``_graphrev_mask``, string: the kernel that the node's mask belongs to (empty: all of them).
* ``_graphrev_role``, string: what the node is to the mask (``mask``, ``masked_weight`` …).
* ``_graphrev_replaces``, string: the tensor ("name:0") that the node's readers read before.
* ``_graphrev_collections``, list(string): the collections of a MetaGraphDef it is to be listed in.
* ``_graphrev_zeros``, int: on a mask, the zeros it (or its group) has when its schedule has ended.
* ``_graphrev_end``, int: on the step of the last update, the step its schedule ends at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

from graphrev.ir.node import Node, TensorRef

PAIR_ATTR = "_graphrev_pair"
RECOMPUTE_ATTR = "_graphrev_recompute"
NO_REWRITE_ATTR = "_graphrev_no_rewrite"
PRUNABLE_ATTR = "_graphrev_prunable"
GROUP_ATTR = "_graphrev_group"
KERNEL_ATTR = "_graphrev_mask"
ROLE_ATTR = "_graphrev_role"
REPLACES_ATTR = "_graphrev_replaces"
COLLECTIONS_ATTR = "_graphrev_collections"
ZEROS_ATTR = "_graphrev_zeros"
END_ATTR = "_graphrev_end"
KERNELS = "kernel"
"""The collection of masked kernels, as ``tf.contrib.model_pruning`` calls it."""
UNFROZEN = b"unfrozen"
"""The role of a read that unfreezing put between a constant and its readers."""
ROLES = ("x1", "x2", "y1", "y2")
_MARKS = (PAIR_ATTR, RECOMPUTE_ATTR, NO_REWRITE_ATTR)
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


def recompute_regions(node: Node) -> tuple[str, ...]:
    """The recompute scopes that the node was built under, outermost first."""
    stored = node.attrs.get(RECOMPUTE_ATTR)
    items = stored if isinstance(stored, tuple) else (stored,)
    return tuple(item.decode("utf-8", "replace") for item in items if isinstance(item, bytes))


def is_opted_out(node: Node) -> bool:
    """Whether the node was built under ``no_rewrite``."""
    return node.attrs.get(NO_REWRITE_ATTR) is True


def is_prunable(node: Node) -> bool:
    """Whether the node was built under ``prunable``."""
    return node.attrs.get(PRUNABLE_ATTR) is True


def group_of(node: Node) -> str | None:
    """The innermost name of a ``prunable`` that the node was built under, if there is one."""
    stored = node.attrs.get(GROUP_ATTR)
    last = stored[-1] if isinstance(stored, tuple) and stored else None
    return last.decode("utf-8", "replace") if isinstance(last, bytes) else None


def role_of(node: Node) -> str:
    """What the node is to a mask; empty for a node that no mask pass added."""
    role = node.attrs.get(ROLE_ATTR)
    return role.decode("utf-8", "replace") if isinstance(role, bytes) else ""


def kernel_of(node: Node) -> str | None:
    """The kernel whose mask the node serves; ``None`` for a node that no mask pass added."""
    kernel = node.attrs.get(KERNEL_ATTR)
    return kernel.decode("utf-8", "replace") if isinstance(kernel, bytes) else None


def replaced_by(node: Node, index: int = 0) -> TensorRef | None:
    """The tensor that the readers of the node's output ``index`` read before the pass.

    A copied view stands for its original output by output, everything else for the one tensor.
    """
    stored = node.attrs.get(REPLACES_ATTR)
    if not isinstance(stored, bytes):
        return None
    name, colon, first = stored.decode("utf-8", "replace").rpartition(":")
    if not colon or not first.isdigit():
        return None
    return TensorRef(name, index if role_of(node) == "view" else int(first))


def collections_of(node: Node) -> tuple[str, ...]:
    """The collections a pass wants the node to be listed in."""
    stored = node.attrs.get(COLLECTIONS_ATTR)
    items = stored if isinstance(stored, tuple) else ()
    return tuple(item.decode("utf-8", "replace") for item in items if isinstance(item, bytes))


def without_marks(node: Node) -> Node:
    """The node as a copy may carry it: a copy is no member of what was marked."""
    if not any(key in node.attrs for key in _MARKS):
        return node
    kept = {key: value for key, value in node.attrs.items() if key not in _MARKS}
    return node.evolve(attrs=MappingProxyType(kept))
