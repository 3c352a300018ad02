"""What is renamed, in full: ``apply`` only carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphrev.errors import printable
from graphrev.pipeline import Plan


@dataclass(frozen=True)
class CleanPlan(Plan):
    """New names, and why each other name under such a scope is kept.

    Attributes:
        names: new name by old name, in graph order.
        scopes: by scope that goes how many nodes leave it.
    """

    names: Mapping[str, str] = field(default_factory=dict[str, str])
    scopes: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is renamed."""
        return not self.names

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{len(self.scopes)} scopes cleaned, {len(self.names)} nodes renamed, "
            f"{len(self.rejections)} left alone"
        )

    def describe(self) -> tuple[str, ...]:
        """One line per scope."""
        return tuple(
            f"scope {printable(scope)}: {count} nodes renamed"
            for scope, count in self.scopes.items()
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {"names": dict(self.names), "scopes": dict(self.scopes)}
