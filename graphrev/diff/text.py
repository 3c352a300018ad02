"""A difference for a terminal: what changed in numbers, where (scopes), and how (hunks)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from graphrev.diff.facts import size_text
from graphrev.diff.graph_diff import (
    EntryChange,
    FieldChange,
    FunctionChange,
    GraphDiff,
    NodeChange,
    Status,
    TensorChange,
)
from graphrev.diff.hunks import Hunk, hunks_of
from graphrev.diff.notation import short_name, short_node
from graphrev.diff.scopes import scope_counts
from graphrev.errors import printable

Paint = Callable[[str, str], str]
_COLORS = {"+": "32", "-": "31", "~": "33", ">": "36", "@": "35", "b": "1", " ": "2"}
_SCOPES, _OPS, _ENTRIES = 60, 12, 40


def render_text(diff: GraphDiff, *, context: int = 1, color: bool = False) -> str:
    """The difference as text ending in a newline; empty when nothing differs."""
    if diff.is_empty:
        return ""
    paint = _ansi if color else _plain
    lines = [*_head(diff, paint), *_scopes(diff, paint), *_entries(diff.entries, paint)]
    for function in diff.functions:
        lines += ["", *_function(function, paint)]
    for hunk in hunks_of(diff, context):
        lines += ["", *_hunk(diff, hunk, paint)]
    return "\n".join(lines) + "\n"


def _ansi(kind: str, text: str) -> str:
    return f"\x1b[{_COLORS[kind]}m{text}\x1b[0m"


def _plain(_: str, text: str) -> str:
    return text


def count_text(counts: dict[str, int]) -> str:
    """``+3 ~1``, without zeros."""
    return " ".join(f"{status.sign}{counts[status]}" for status in Status if counts.get(status))


def _head(diff: GraphDiff, paint: Paint) -> Iterator[str]:
    before, after = diff.before, diff.after
    yield paint("-", f"--- {printable(before.source)}: {len(before.graph)} nodes")
    yield paint("+", f"+++ {printable(after.source)}: {len(after.graph)} nodes")
    said = [f"{count} {status}" for status, count in diff.counts.items() if count]
    yield ", ".join(said) or "no node differs"
    if before.parameters != after.parameters:
        yield f"parameters: {before.parameters} -> {after.parameters}"
    if before.memory and after.memory:
        old, new = before.memory.peak_bytes, after.memory.peak_bytes
        yield f"predicted peak of a step: {size_text(old)} -> {size_text(new)}"
    peaks = [size_text(s.measured.peak_bytes) if s.measured else "?" for s in (before, after)]
    if before.measured or after.measured:
        yield f"measured peak of a step: {peaks[0]} -> {peaks[1]}"
    ops = sorted({*before.ops, *after.ops})
    moved = [op for op in ops if before.ops.get(op, 0) != after.ops.get(op, 0)]
    moved.sort(key=lambda op: -abs(before.ops.get(op, 0) - after.ops.get(op, 0)))
    shown = [f"{short_name(op)} {before.ops.get(op, 0)} -> {after.ops.get(op, 0)}" for op in moved]
    if shown:
        more = f", and {len(shown) - _OPS} more" if len(shown) > _OPS else ""
        yield f"ops: {', '.join(shown[:_OPS])}{more}"


def _scopes(diff: GraphDiff, paint: Paint) -> Iterator[str]:
    """The tree of scopes; a scope whose only child has the same counts is shown with it."""
    found = scope_counts(diff.nodes)
    found.pop("", None)
    texts = {scope: count_text(counts) for scope, counts in found.items()}
    rows: list[tuple[int, str, str]] = []
    shown: list[str] = []
    names = list(texts)
    for place, scope in enumerate(names):
        follows = names[place + 1] if place + 1 < len(names) else ""
        if follows.startswith(f"{scope}/") and texts[follows] == texts[scope]:
            continue
        while shown and not scope.startswith(f"{shown[-1]}/"):
            shown.pop()
        inner = scope[len(shown[-1]) + 1 :] if shown else scope
        rows.append((len(shown), short_name(inner, 80), texts[scope]))
        shown.append(scope)
    if rows:
        yield ""
        yield paint("b", "scopes")
    width = min(60, max((2 * depth + len(name) for depth, name, _ in rows), default=0))
    for depth, name, counts in rows[:_SCOPES]:
        yield f"  {'  ' * depth + name:<{width}}  {_signs(counts, paint)}"
    if len(rows) > _SCOPES:
        yield f"  … and {len(rows) - _SCOPES} more scopes"


def _signs(counts: str, paint: Paint) -> str:
    return " ".join(paint(word[0], word) for word in counts.split())


def _entries(entries: Iterable[EntryChange], paint: Paint) -> Iterator[str]:
    for number, entry in enumerate(entries):
        if not number:
            yield ""
        if number == _ENTRIES:
            yield "… and more; see --format json"
            return
        change = _arrow(entry.before, entry.after)
        name = short_name(entry.name)
        yield paint(entry.status.sign, f"{entry.status.sign} {entry.kind} {name}: {change}")
        if entry.status is Status.CHANGED:
            yield from (paint(line[0], f"    {line}") for line in entry.lines if line[0] in "+-~")


def _arrow(before: str | None, after: str | None) -> str:
    if before is None or after is None:
        return after or before or ""
    return f"{before} -> {after}"


def _function(function: FunctionChange, paint: Paint) -> Iterator[str]:
    sign = function.status.sign
    yield paint("@", f"@@ {sign} function {short_name(function.name)} @@")
    yield from (_field(field, paint) for field in function.fields)
    for change in function.nodes:
        yield from change_lines(change, paint)


def _hunk(diff: GraphDiff, hunk: Hunk, paint: Paint) -> Iterator[str]:
    yield paint("@", f"@@ {hunk_title(hunk)} @@ {count_text(hunk.counts)}")
    for change, node in in_order(diff, hunk):
        if change is not None:
            yield from change_lines(change, paint)
        else:
            yield paint(" ", f"  {short_node(diff.after.graph[node])}")


def in_order(diff: GraphDiff, hunk: Hunk) -> list[tuple[NodeChange | None, str]]:
    """Changes and context of a hunk, merged as they stand in the graph."""
    nodes = diff.after.graph.nodes
    context = {name for name in hunk.context if name in nodes}
    changed = {change.name: change for change in hunk.changes}
    if not context:
        return [(change, change.name) for change in hunk.changes]
    places = diff.after.places
    old = diff.before.places
    found = [(None, name) for name in context] + [(c, name) for name, c in changed.items()]
    return sorted(found, key=lambda item: (places.get(item[1], old.get(item[1], 0)), item[1]))


def hunk_title(hunk: Hunk) -> str:
    """``reversible · block: reason``, or the scope."""
    cause = hunk.cause
    if cause is None:
        return printable(hunk.title)
    reason = f": {printable(cause.reason, 300)}" if cause.reason else ""
    return f"{cause.pass_name} · {printable(hunk.title)}{reason}"


def change_lines(change: NodeChange, paint: Paint = _plain) -> Iterator[str]:
    """A change in the notation, with the fields that differ below it."""
    sign = change.status.sign
    yield paint(sign, f"{sign} {short_node(change.node)}")
    if change.before is not None and change.before.name != change.name:
        yield f"      name: {short_name(change.before.name)} -> {short_name(change.name)}"
    if change.clone_of is not None:
        yield paint(" ", f"      copy of {short_name(change.clone_of)}")
    yield from (_field(field, paint) for field in change.fields)


def _field(field: FieldChange, paint: Paint) -> str:
    old = "nothing" if field.before is None else field.before
    new = "nothing" if field.after is None else field.after
    line = f"      {field.field}: {paint('-', old)} -> {paint('+', new)}"
    return f"{line}; {tensor_text(field.tensor)}" if field.tensor else line


def tensor_text(tensor: TensorChange) -> str:
    """Two constants in numbers, on one line."""
    found: list[str] = []
    if tensor.before != tensor.after:
        found.append(f"{tensor.before} -> {tensor.after}")
    if tensor.max_difference is not None:
        found.append(f"max difference {tensor.max_difference:.6g}")
    if tensor.sparsity_before is not None and tensor.sparsity_after is not None:
        found.append(f"zeros {tensor.sparsity_before:.1%} -> {tensor.sparsity_after:.1%}")
    return ", ".join(found) or "content differs"
