"""The page's data: hunks with their places, views (one per pass), names to search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from graphrev.diff.drawing import Box, Draftsman, Drawing
from graphrev.diff.graph_diff import FieldChange, GraphDiff
from graphrev.diff.hunks import Hunk, hunks_of
from graphrev.diff.notation import short_node
from graphrev.diff.scopes import scope_counts
from graphrev.diff.svg import line_path
from graphrev.diff.text import count_text, hunk_title, tensor_text
from graphrev.errors import printable

Payload = dict[str, Any]
_KINDS = {"data": 0, "control": 1, "clone": 2}
_NAME = 300


def payload(diff: GraphDiff, context: int) -> Payload:
    """Everything the script draws, as plain data; texts are safe to show as they are."""
    hunks: list[Payload] = []
    views = [_view("the whole run" if diff.run else "all changes", "", diff, context, hunks)]
    views = [*_pass_views(diff, context, hunks, views[0]), *views]
    return {"views": views, "hunks": hunks, **_names(diff)}


def _pass_views(
    diff: GraphDiff, context: int, hunks: list[Payload], whole: Payload
) -> Iterator[Payload]:
    """One view per pass of the run; a single pass that changed something shows the whole run."""
    from graphrev.diff.compare import step_diff

    steps = diff.run.steps if diff.run else ()
    busy = [step for step in steps if step.edits]
    for number, step in enumerate(steps, 1):
        title = f"{number}. {step.pass_.name}"
        summary = printable(step.plan.summary(), 300)
        if len(busy) == 1 and step is busy[0]:
            yield {**whole, "title": title, "text": summary}
        else:
            yield _view(title, summary, step_diff(step), context, hunks)


def _view(title: str, text: str, diff: GraphDiff, context: int, hunks: list[Payload]) -> Payload:
    """The hunks of a difference, added to ``hunks``, and the counts of its scopes."""
    first, draftsman = len(hunks), Draftsman(diff)
    for hunk in hunks_of(diff, context):
        hunks.append(_hunk(hunk, draftsman.draw(hunk)))
    counts = [
        [_name(scope), *counts.values()] for scope, counts in scope_counts(diff.nodes).items()
    ]
    return {
        "title": title,
        "text": text,
        "hunks": [first, len(hunks)],
        "nodes": [len(diff.before.graph), len(diff.after.graph)],
        "scopes": counts,
    }


def _hunk(hunk: Hunk, drawing: Drawing) -> Payload:
    return {
        "t": hunk_title(hunk),
        "c": count_text(hunk.counts),
        "w": drawing.width,
        "h": drawing.height,
        "m": drawing.border,
        "n": [_box(box) for box in drawing.boxes],
        "e": [
            [line.source, line.target, _KINDS[line.kind], line.sides, line_path(drawing, line)]
            for line in drawing.lines
        ],
    }


def _box(box: Box) -> list[Any]:
    """Name, op, status, sides, backward, x, y, notation, and for a change what it is made of."""
    found: list[Any] = [
        _name(box.node.name),
        printable(box.node.op, 60),
        box.status,
        box.sides,
        int(box.backward),
        *box.place,
        short_node(box.node),
    ]
    change = box.change
    if change is not None:
        why = [f"{c.pass_name} · {printable(c.subject)}: {printable(c.reason)}" for c in change.why]
        old = "" if change.before is None else change.before.name
        found += [
            [_field(field) for field in change.fields],
            why,
            _name(change.clone_of or ""),
            _name(old) if old != change.name else "",
        ]
    return found


def _field(field: FieldChange) -> list[str | None]:
    tensor = None if field.tensor is None else tensor_text(field.tensor)
    return [field.field, field.before, field.after, tensor]


def _name(name: str) -> str:
    """A name safe to show; a long one keeps both ends, so that names stay apart."""
    if len(name) > _NAME:
        name = f"{name[: _NAME // 2]}…{name[-_NAME // 2 :]}"
    return printable(name, 10 * _NAME)


def _names(diff: GraphDiff) -> Payload:
    """All nodes for the search: names in the order of the graph, ops by number."""
    nodes = [
        *diff.after.graph.nodes.values(),
        *(change.before for change in diff.nodes if change.after is None and change.before),
    ]
    ops = sorted({node.op for node in nodes})
    numbers = {op: number for number, op in enumerate(ops)}
    return {
        "names": [_name(node.name) for node in nodes],
        "ops": _shown(ops),
        "op": [numbers[node.op] for node in nodes],
    }


def _shown(ops: Iterable[str]) -> list[str]:
    return [printable(op, 60) for op in ops]
