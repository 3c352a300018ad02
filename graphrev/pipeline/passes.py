"""What a pass is: ``analyze`` decides, ``apply`` does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from graphrev.editor import GraphEditor
from graphrev.ir import Graph
from graphrev.pipeline.rejection import Rejection


@dataclass(frozen=True)
class Plan(ABC):
    """What a pass will do, in domain words, and why each near miss is left alone."""

    rejections: tuple[Rejection, ...]

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether applying the plan changes nothing."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The plan as plain data (rejections are reported by the pipeline)."""

    @abstractmethod
    def summary(self) -> str:
        """One line for people."""

    def checkpoint(self) -> Mapping[str, Any] | None:
        """The variables by the names they are saved under, where the pass changed their shapes."""
        return None

    def describe(self) -> tuple[str, ...]:
        """What is done to each thing the plan changes, a line each, safe to print."""
        return ()


PlanT = TypeVar("PlanT", bound=Plan)


@dataclass(frozen=True)
class Pass(ABC, Generic[PlanT]):
    """A rewrite. Its fields are its options; ``name`` is what the command line calls it."""

    name: ClassVar[str]

    @abstractmethod
    def analyze(self, graph: Graph) -> PlanT:
        """All decisions; the graph is immutable, so nothing can be changed here."""

    @abstractmethod
    def apply(self, plan: PlanT, editor: GraphEditor) -> None:
        """Makes the planned edits; cannot fail on the graph the plan was made for."""
