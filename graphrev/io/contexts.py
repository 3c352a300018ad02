"""``while_context`` and ``cond_context`` entries of a MetaGraphDef.

Source: core/protobuf/control_flow.proto (TF 1.15). The messages are edited at the wire level,
because the protos that load without TensorFlow lack them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphrev.io import wire


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened to nodes, by the names they had before.

    Attributes:
        copies: ``(original, copy)`` for each node that was copied, in order.
        joined: ``(node, tensors)`` for each other node that was added, with what it reads.
        renamed: new names by old name.
        removed: nodes that are gone.
    """

    copies: tuple[tuple[str, str], ...] = ()
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.copies or self.joined or self.renamed or self.removed)

    def tensor(self, name: str) -> str:
        """``"node:0"`` (or ``"node"``) with its node renamed."""
        node, colon, index = name.partition(":")
        return f"{self.renamed.get(node, node)}{colon}{index}"

    def keeps(self, name: str) -> bool:
        """Whether the node of ``"node:0"`` (or ``"node"``) is still there."""
        return name.partition(":")[0] not in self.removed


@dataclass(frozen=True, slots=True)
class ContextLayout:
    """Field numbers of a context message: those that name nodes, its values, what nests in it."""

    names: frozenset[int]
    values: int
    nested: int


_COND = ContextLayout(frozenset({2, 3}), 5, 6)
_WHILE = ContextLayout(frozenset({5, 6, 7, 8, 10, 11}), 9, 12)
CONTEXTS = {"cond_context": _COND, "while_context": _WHILE}
_NESTED = {1: _COND, 2: _WHILE}
"""Fields of ControlFlowContextDef."""
_DEEPEST = 100
"""Loops and branches in one another; more is no graph that TensorFlow writes."""


def updated_context(raw: bytes, layout: ContextLayout, changes: Changes, depth: int = 0) -> bytes:
    """A context that also lists what was added in it, with its names brought up to date.

    Args:
        raw: a serialized CondContextDef or WhileContextDef.
        layout: its field numbers.
        changes: what happened to the nodes.
        depth: how many contexts it is nested in.

    Raises:
        WireError: the bytes are no context, or contexts nest deeper than 100 levels.
    """
    if depth > _DEEPEST:
        raise wire.WireError(0, f"contexts nested in more than {_DEEPEST} levels")
    parts: list[bytes] = []
    for number, kind, value in wire.fields(raw):
        if number in layout.names:
            name = changes.tensor(wire.text(value))
            parts.append(wire.bytes_field(number, name.encode("utf-8")))
        elif number == layout.values:
            parts.append(wire.bytes_field(number, _values(wire.chunk(value), changes)))
        elif number == layout.nested:
            inner = _nested(wire.chunk(value), changes, depth + 1)
            parts.append(wire.bytes_field(number, inner))
        else:
            parts.append(wire.encode_field((number, kind, value)))
    return b"".join(parts)


def _nested(raw: bytes, changes: Changes, depth: int) -> bytes:
    """A ControlFlowContextDef."""
    return b"".join(
        wire.bytes_field(n, updated_context(wire.chunk(v), _NESTED[n], changes, depth))
        if n in _NESTED
        else wire.encode_field((n, k, v))
        for n, k, v in wire.fields(raw)
    )


def _values(raw: bytes, changes: Changes) -> bytes:
    """A ValuesDef: ``values`` (1) lists tensors, ``external_values`` (2) maps inner to outer.

    An entry of the map whose inner or outer end is gone leaves both: TensorFlow looks both up.
    """
    fields = list(wire.fields(raw))
    entries = [_entry(value) for number, _, value in fields if number == 2]
    gone = {e[1] for e in entries if not all(changes.keeps(name) for name in e.values())}
    listed = [wire.text(value) for number, _, value in fields if number == 1]
    listed = _with_copies(listed, changes)
    listed += _joining(listed, {entry[1] for entry in entries}, changes)
    parts = [
        wire.bytes_field(1, changes.tensor(name).encode("utf-8"))
        for name in listed
        if changes.keeps(name) and name not in gone
    ]
    for entry in entries:
        if entry[1] not in gone:
            ends = (wire.bytes_field(n, changes.tensor(e).encode()) for n, e in entry.items())
            parts.append(wire.bytes_field(2, b"".join(ends)))
    parts.extend(wire.encode_field(part) for part in fields if part[0] not in (1, 2))
    return b"".join(parts)


def _entry(value: int | bytes) -> dict[int, str]:
    """An entry of a map of strings: key (1) and value (2), empty where they are left out."""
    return {1: "", 2: ""} | {n: wire.text(v) for n, _, v in wire.fields(wire.chunk(value))}


def _with_copies(listed: list[str], changes: Changes) -> list[str]:
    """The values with those of copies (and of copies of copies) behind them."""
    outputs: dict[str, list[str]] = {}
    for value in listed:
        node, _, index = value.partition(":")
        outputs.setdefault(node, []).append(index)
    more: list[str] = []
    for original, copy in changes.copies:
        indices = outputs.get(original)
        if indices is not None and copy not in outputs:
            outputs[copy] = indices
            more.extend(f"{copy}:{index}" if index else copy for index in indices)
    return listed + more


def _joining(listed: list[str], external: set[str], changes: Changes) -> list[str]:
    """The first values of the nodes that read a value of the context; outer values do not count."""
    inner = {changes.tensor(value) for value in listed if value not in external}
    found: list[str] = []
    for node, tensors in changes.joined:
        if not inner.isdisjoint(tensors):
            inner.add(f"{node}:0")
            found.append(f"{node}:0")
    return found
