"""A difference of two graphs as plain frozen data; ``docs/diff-schema.md`` documents its JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from graphrev.diff.facts import op_counts, parameter_count
from graphrev.diff.trace import Measured, read_trace
from graphrev.edits import Cause
from graphrev.ir import Graph, Node, Shape
from graphrev.pipeline import Run

SCHEMA = "graphrev-diff/1"


class Status(str, Enum):
    """What became of a thing; ``renamed`` may come with fields that differ as well."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"

    @property
    def sign(self) -> str:
        """One character for it."""
        return {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}[self.value]


@dataclass(frozen=True, slots=True)
class TensorChange:
    """Two constants in numbers.

    Attributes:
        before, after: element type and shape in the notation.
        max_difference: largest absolute difference of elements; ``None`` where the shapes or types
            do not allow the question, or the content cannot be read.
        sparsity_before, sparsity_after: share of elements that are zero.
    """

    before: str
    after: str
    max_difference: float | None
    sparsity_before: float | None
    sparsity_after: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "before": self.before,
            "after": self.after,
            "max_difference": self.max_difference,
            "sparsity": {"before": self.sparsity_before, "after": self.sparsity_after},
        }


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a node that differs.

    Attributes:
        field: ``op``, ``device``, ``input[0]``, ``inputs`` (their number), ``controls``, ``extra``,
            or ``attr[T]``.
        before, after: the values in the notation, shortened; ``None`` where there is none.
        tensor: the values in numbers, for constants.
    """

    field: str
    before: str | None
    after: str | None
    tensor: TensorChange | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {"field": self.field, "before": self.before, "after": self.after}
        if self.tensor is not None:
            found["tensor"] = self.tensor.to_json()
        return found


@dataclass(frozen=True, slots=True)
class NodeChange:
    """One node that differs.

    Attributes:
        status: what became of it.
        before, after: the node on either side; one is ``None`` when added or removed.
        fields: what differs, for a node on both sides.
        why: the causes in the edit log, where the pair comes from a run.
        clone_of: the node it was copied from, for an added copy.
    """

    status: Status
    before: Node | None
    after: Node | None
    fields: tuple[FieldChange, ...] = ()
    why: tuple[Cause, ...] = ()
    clone_of: str | None = None

    @property
    def node(self) -> Node:
        """The node as it is, or as it was before it was removed."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """Its name now, or before it was removed."""
        return self.node.name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found: dict[str, Any] = {
            "status": self.status.value,
            "name": self.name,
            "op": self.node.op,
        }
        if self.before is not None and self.before.name != self.name:
            found["old_name"] = self.before.name
        if self.clone_of is not None:
            found["clone_of"] = self.clone_of
        found["fields"] = [change.to_json() for change in self.fields]
        found["why"] = [
            {"pass": c.pass_name, "subject": c.subject, "reason": c.reason} for c in self.why
        ]
        return found


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """A library function that differs: its interface (``fields``) and its body (``nodes``)."""

    name: str
    status: Status
    fields: tuple[FieldChange, ...] = ()
    nodes: tuple[NodeChange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "status": self.status.value,
            "name": self.name,
            "fields": [change.to_json() for change in self.fields],
            "nodes": [change.to_json() for change in self.nodes],
        }


@dataclass(frozen=True, slots=True)
class EntryChange:
    """Something beside the nodes that differs.

    Attributes:
        kind: ``signature``, ``collection``, ``variable``, ``stripped_op``, ``version`` or ``meta``.
        name: its key.
        status: what became of it.
        before, after: its value as text, shortened.
        lines: items that came (``+ …``) or went (``- …``), for collections and signatures.
    """

    kind: str
    name: str
    status: Status
    before: str | None
    after: str | None
    lines: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "status": self.status.value,
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "lines": list(self.lines),
        }


@dataclass(frozen=True)
class Side:
    """One of the two graphs, and what is known of how it is run.

    Attributes:
        source: what was read.
        graph: the graph.
        targets: the ops a training step runs, where the file names them.
        feeds: shapes of what is fed, for predicting memory.
        measured: the memory a step was seen to take, where there is a trace.
    """

    source: str
    graph: Graph
    targets: tuple[str, ...] = ()
    feeds: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    measured: Measured | None = None

    @cached_property
    def memory(self) -> Any:
        """The predicted :class:`~graphrev.analysis.liveness.MemoryProfile` of a step.

        ``None`` for a graph that breaks a structural invariant.
        """
        from graphrev.diff.facts import predicted

        return predicted(self.graph, self.targets, self.feeds)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Each node's place in the file."""
        return {name: number for number, name in enumerate(self.graph.nodes)}

    @cached_property
    def ops(self) -> Mapping[str, int]:
        """How many nodes there are of each op, by op name."""
        return op_counts(self.graph)

    @cached_property
    def parameters(self) -> int:
        """Elements of all variables of known shape, optimizer slots included."""
        return parameter_count(self.graph)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "source": self.source,
            "nodes": len(self.graph),
            "functions": len(self.graph.functions),
            "parameters": self.parameters,
            "predicted_peak_bytes": self.memory and self.memory.peak_bytes,
            "measured_peak_bytes": self.measured and self.measured.peak_bytes,
        }


@dataclass(frozen=True)
class GraphDiff:
    """What differs between two graphs.

    Attributes:
        before, after: the two sides.
        nodes: nodes that differ: those that were there before in the order of the first graph, then
            the added ones in the order of the second.
        functions: library functions that differ.
        entries: signatures, collections, variables and versions that differ.
        run: the run that made the second graph from the first, where there was one.
    """

    before: Side
    after: Side
    nodes: tuple[NodeChange, ...]
    functions: tuple[FunctionChange, ...] = ()
    entries: tuple[EntryChange, ...] = ()
    run: Run | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.nodes or self.functions or self.entries)

    def __bool__(self) -> bool:
        return not self.is_empty

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many nodes were added, removed, changed and renamed."""
        found = Counter(change.status for change in self.nodes)
        return {status.value: found[status] for status in Status}

    def with_traces(
        self, before: str | Path | None = None, after: str | Path | None = None
    ) -> GraphDiff:
        """The same with the memory that a step was measured to take.

        Args:
            before, after: files with a serialized ``RunMetadata`` of a step of either graph, run
                with ``trace_level=FULL_TRACE``.

        Raises:
            UsageError: there is no such file.
            InvalidInputError: it is no such trace.
        """
        sides = [
            side if path is None else replace(side, measured=read_trace(path))
            for side, path in ((self.before, before), (self.after, after))
        ]
        return replace(self, before=sides[0], after=sides[1])

    def to_json(self) -> dict[str, Any]:
        """The difference as plain data; see ``docs/diff-schema.md``."""
        from graphrev.diff.scopes import scope_counts

        ops = sorted({*self.before.ops, *self.after.ops})
        return {
            "schema": SCHEMA,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "counts": dict(self.counts),
            "nodes": [change.to_json() for change in self.nodes],
            "functions": [change.to_json() for change in self.functions],
            "entries": [change.to_json() for change in self.entries],
            "scopes": [
                {"scope": scope, **counts} for scope, counts in scope_counts(self.nodes).items()
            ],
            "ops": [
                {"op": op, "before": self.before.ops.get(op, 0), "after": self.after.ops.get(op, 0)}
                for op in ops
            ],
            "passes": [_pass_json(step) for step in self.run.steps] if self.run else [],
        }

    def to_text(self, *, context: int = 1, color: bool = False) -> str:
        """The difference for a terminal: a scope tree with counts, then hunks in the notation.

        Args:
            context: how many edges away from a change unchanged nodes are shown.
            color: whether to use ANSI colours.
        """
        from graphrev.diff.text import render_text

        return render_text(self, context=context, color=color)

    def to_svg(self, *, context: int = 1) -> str:
        """The hunks side by side as one SVG picture."""
        from graphrev.diff.svg import render_svg

        return render_svg(self, context=context)

    def to_html(self, *, context: int = 1, verification: str | None = None) -> str:
        """One self-contained page that needs no network.

        Args:
            context: how many edges away from a change unchanged nodes are drawn.
            verification: what a numeric comparison said, to be shown on top.
        """
        from graphrev.diff.html import render_html

        return render_html(self, context=context, verification=verification)


def _pass_json(step: Any) -> dict[str, Any]:
    return {
        "name": step.pass_.name,
        "summary": step.plan.summary(),
        "edits": len(step.edits),
        "rejections": [
            {"code": r.code.value, "reason": r.reason, "nodes": list(r.nodes)}
            for r in step.plan.rejections
        ],
    }
