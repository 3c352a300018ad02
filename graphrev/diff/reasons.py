"""Why each node differs, from the edit log of the run that made the second graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphrev.edits import (
    AddInput,
    AddNode,
    Cause,
    DropInput,
    Edit,
    EditLog,
    RemoveNode,
    RenameNode,
    SetAttr,
    SetControls,
    SetFunction,
    SetInput,
)


@dataclass
class _Record:
    """What the log says of one node."""

    first_name: str | None
    origin: str | None = None
    causes: dict[Cause, None] = field(default_factory=dict[Cause, None])


@dataclass(frozen=True)
class Reasons:
    """Causes and origins by name in the second graph, causes of removals by name in the first."""

    final: dict[str, _Record]
    removed: dict[str, _Record]

    @property
    def renamed(self) -> dict[str, str]:
        """New names by old names."""
        return {
            record.first_name: name
            for name, record in self.final.items()
            if record.first_name is not None and record.first_name != name
        }

    def why(self, name: str) -> tuple[Cause, ...]:
        """The causes of what happened to a node of the second graph."""
        record = self.final.get(name)
        return tuple(record.causes) if record else ()

    def why_removed(self, name: str) -> tuple[Cause, ...]:
        """The causes of the removal of a node of the first graph."""
        record = self.removed.get(name)
        return tuple(record.causes) if record else ()

    def origin(self, name: str) -> str | None:
        """The node that a node of the second graph was copied from."""
        record = self.final.get(name)
        return record.origin if record else None


def reasons(log: EditLog) -> Reasons:
    """Follows every node of ``log`` from its first name to its last."""
    final: dict[str, _Record] = {}
    removed: dict[str, _Record] = {}
    for edit in log:
        _note(edit, final, removed)
    return Reasons(final, removed)


def _note(edit: Edit, final: dict[str, _Record], removed: dict[str, _Record]) -> None:
    match edit:
        case AddNode():
            final[edit.node.name] = record = _Record(None, edit.origin)
        case RemoveNode():
            record = final.pop(edit.node.name, None) or _Record(edit.node.name)
            if record.first_name is not None:
                removed[record.first_name] = record
        case RenameNode():
            record = final.pop(edit.old, None) or _Record(edit.old)
            final[edit.new] = record
        case SetInput() | AddInput() | DropInput() | SetControls() | SetAttr():
            record = final.setdefault(edit.node, _Record(edit.node))
        case SetFunction():
            return
    record.causes[edit.cause] = None
