"""Compares two models: nodes, functions, and what is around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphrev.diff.envelopes import changed_entries
from graphrev.diff.fields import Ignored, changed_fields, same_node
from graphrev.diff.functions import changed_functions
from graphrev.diff.graph_diff import FieldChange, GraphDiff, NodeChange, Side, Status
from graphrev.diff.matching import renames
from graphrev.diff.reasons import Reasons, reasons
from graphrev.errors import UsageError, printable
from graphrev.io.model import Model
from graphrev.ir import Node, Shape
from graphrev.passes.reversible.surroundings import CLONE_ATTR
from graphrev.pipeline import Run, Step

Targets = tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """What is left out of a comparison.

    Attributes:
        ignored: kinds of fields or names of attributes.
        shown: whether a node of this name is looked at.
    """

    ignored: Ignored = frozenset()
    shown: Callable[[str], object] | None = None


def compare(
    before: Model,
    after: Model,
    *,
    run: Run | None = None,
    targets: tuple[Targets, Targets] = ((), ()),
    feeds: Mapping[str, Shape] | None = None,
    ignore: Iterable[str] = (),
    scope: str | None = None,
) -> GraphDiff:
    """What differs between two graphs.

    Args:
        before, after: the two; neither needs to be valid.
        run: the run that made the second of the first: gives every change its pass and reason.
        targets: ops a training step runs, on either side, for predicting memory.
        feeds: shapes by placeholder name, for predicting memory.
        ignore: ``op``, ``device``, ``inputs``, ``controls``, ``attrs``, ``extra``, ``functions``,
            ``entries``, or names of attributes.
        scope: a regular expression; only nodes whose name it is found in are compared, and
            nothing but nodes.

    Raises:
        UsageError: ``scope`` is no regular expression.
    """
    ignored = frozenset(ignore)
    options = Options(ignored, _shown(scope))
    known = reasons(run.edits) if run is not None else None
    nodes = tuple(changed_nodes(before.graph.nodes, after.graph.nodes, options, known))
    whole = scope is None
    functions = entries = ()
    if whole and "functions" not in ignored:
        functions = changed_functions(
            before.graph.functions,
            after.graph.functions,
            lambda left, right: tuple(changed_nodes(left, right, options, None)),
        )
    if whole and "entries" not in ignored:
        entries = changed_entries(before, after)
    sides = [
        Side(model.source, model.graph, target, feeds or {})
        for model, target in zip((before, after), targets)
    ]
    return GraphDiff(sides[0], sides[1], nodes, functions, entries, run)


def step_diff(step: Step) -> GraphDiff:
    """What one pass of a run changed."""
    known = reasons(step.edits)
    nodes = tuple(changed_nodes(step.before.nodes, step.after.nodes, Options(), known))
    before = Side(f"before {step.pass_.name}", step.before)
    after = Side(f"after {step.pass_.name}", step.after)
    return GraphDiff(before, after, nodes, run=Run(step.before, step.after, (step,)))


def _shown(scope: str | None) -> Callable[[str], object] | None:
    if scope is None:
        return None
    try:
        return re.compile(scope).search
    except re.error as error:
        raise UsageError(
            f"--scope '{printable(scope)}' is no regular expression: {error}."
        ) from None


def changed_nodes(
    before: Mapping[str, Node],
    after: Mapping[str, Node],
    options: Options,
    known: Reasons | None,
) -> Iterator[NodeChange]:
    """The nodes that differ: those of ``before`` in its order, then those only in ``after``."""
    renamed = known.renamed if known is not None else renames(before, after)
    shown = options.shown
    come = set(renamed.values())
    for name, old in before.items():
        replaced = name in come and name not in renamed
        new = None if replaced else after.get(renamed.get(name, name))
        change = _one(old, new, renamed, options, known)
        if change is not None and (shown is None or shown(name) or shown(change.name)):
            yield change
    for name, new in after.items():
        if name in come or (name in before and name not in renamed):
            continue
        if shown is None or shown(name):
            why = known.why(name) if known else ()
            origin = known.origin(name) if known else _marked_origin(new)
            yield NodeChange(Status.ADDED, None, new, (), why, origin)


def _one(
    old: Node,
    new: Node | None,
    renamed: Mapping[str, str],
    options: Options,
    known: Reasons | None,
) -> NodeChange | None:
    """What became of a node of the first graph; ``None`` if nothing did."""
    if new is None:
        return NodeChange(
            Status.REMOVED, old, None, (), known.why_removed(old.name) if known else ()
        )
    if old.name == new.name and same_node(old, new, renamed):
        return None
    fields: tuple[FieldChange, ...] = changed_fields(old, new, renamed, options.ignored)
    if old.name == new.name and not fields:
        return None
    status = Status.CHANGED if old.name == new.name else Status.RENAMED
    return NodeChange(status, old, new, fields, known.why(new.name) if known else ())


def _marked_origin(node: Node) -> str | None:
    """What a copy says it was copied from: it outlives the run that made it."""
    value = node.attrs.get(CLONE_ATTR)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None
