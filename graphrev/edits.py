"""The edit log: what a pass did to a graph, as plain frozen data.

One artifact does four jobs: it is what a pass did, what is replayed on a live ``tf.Graph``, what
the report counts and what the diff explains. Every edit carries the :class:`Cause` it was made
for, and enough of the old state to be read without the graph it was made on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, Union

from graphrev.ir import AttrValue, Function, Node, TensorRef


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an edit was made: the pass, what it was working on (a block, a kernel), the reason."""

    pass_name: str
    subject: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AddNode:
    """``node`` was added; ``origin`` names the node it is a clone of, if it is one."""

    node: Node
    origin: str | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """``node`` was removed; nothing reads it any more."""

    node: Node
    cause: Cause


@dataclass(frozen=True, slots=True)
class SetInput:
    """Data input ``position`` of ``node`` was rewired from ``old`` to ``new``."""

    node: str
    position: int
    old: TensorRef
    new: TensorRef
    cause: Cause


@dataclass(frozen=True, slots=True)
class AddInput:
    """``node`` reads ``new`` as one more data input, behind the others (a saver's tensors)."""

    node: str
    new: TensorRef
    cause: Cause


@dataclass(frozen=True, slots=True)
class DropInput:
    """``node`` no longer reads ``old``, its last data input."""

    node: str
    old: TensorRef
    cause: Cause


@dataclass(frozen=True, slots=True)
class SetControls:
    """The control inputs of ``node`` were changed from ``old`` to ``new``."""

    node: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    cause: Cause


@dataclass(frozen=True, slots=True)
class SetAttr:
    """Attribute ``key`` of ``node`` was changed; ``None`` stands for "absent"."""

    node: str
    key: str
    old: AttrValue | None
    new: AttrValue | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class RenameNode:
    """A node got another name; its readers follow it."""

    old: str
    new: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class SetFunction:
    """A function of the library was changed; ``None`` stands for "absent"."""

    name: str
    old: Function | None
    new: Function | None
    cause: Cause


Edit: TypeAlias = Union[
    AddNode,
    RemoveNode,
    SetInput,
    AddInput,
    DropInput,
    SetControls,
    SetAttr,
    RenameNode,
    SetFunction,
]
EditLog: TypeAlias = tuple[Edit, ...]


def final_names(edits: Iterable[Edit]) -> dict[str, str]:
    """By the name before all ``edits`` the name after them, for every node that was renamed."""
    first: dict[str, str] = {}
    for edit in edits:
        if isinstance(edit, RenameNode):
            first[edit.new] = first.pop(edit.old, edit.old)
    return {old: new for new, old in first.items()}
