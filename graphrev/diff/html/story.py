"""The top of the page: what was done in domain words, for someone who never saw graphrev."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphrev.analysis.crossings import Crossing, new_crossings
from graphrev.diff.facts import size_text
from graphrev.diff.graph_diff import EntryChange, FunctionChange, GraphDiff
from graphrev.diff.html.plot import memory_plot
from graphrev.diff.svg import escape
from graphrev.diff.text import change_lines
from graphrev.pipeline import EXPLANATIONS, Code, Rejection, Step

_ROWS, _REASONS, _ENTRIES = 200, 20, 200
_TITLES = {"freed_bytes": "memory freed", "saved_bytes": "streams kept instead"}


def render_story(diff: GraphDiff, verification: str | None) -> str:
    """The header and every section above the hunks, as HTML."""
    return "".join(_parts(diff, verification))


def _parts(diff: GraphDiff, verification: str | None) -> Iterator[str]:
    yield "<header><h1>What changed</h1>"
    yield f'<p class="sources">{_sources(diff)}</p>'
    yield f"<p>{_lead(diff)}</p>{_cards(diff)}"
    if verification:
        lines = verification[:2000].splitlines()
        yield "".join(f'<p class="verified">{escape(line, 2000)}</p>' for line in lines)
    yield "</header>"
    for step in diff.run.steps if diff.run else ():
        yield _step(step)
    if diff.run is not None:
        yield _crossings(new_crossings(diff.run.before, diff.run.after))
    yield '<section class="facts">'
    yield memory_plot(diff.before, diff.after)
    yield _ops(diff)
    yield "</section>"
    yield _entries(diff.entries)
    yield _functions(diff.functions)


def _sources(diff: GraphDiff) -> str:
    before, after = diff.before.source, diff.after.source
    if before == after and diff.run is not None:
        after = f"after {', '.join(step.pass_.name for step in diff.run.steps)}"
    return f"{escape(before, 300)} <b>→</b> {escape(after, 300)}"


def _lead(diff: GraphDiff) -> str:
    if diff.is_empty:
        return "Nothing differs."
    said = [f"{count} {status}" for status, count in diff.counts.items() if count]
    nodes = f"{', '.join(said)} of {len(diff.before.graph)} nodes" if said else "No node differs"
    beside = len(diff.entries) + len(diff.functions)
    kinds = "variables, functions, signatures, collections"
    more = f"; {beside} other things differ ({kinds})" if beside else ""
    return f"{nodes}{more}."


def _cards(diff: GraphDiff) -> str:
    before, after = diff.before, diff.after
    cards: list[tuple[str, str, str]] = []
    if before.memory and after.memory:
        old, new = before.memory.peak_bytes, after.memory.peak_bytes
        saved = f"{(new - old) / old:+.0%}" if old else ""
        note = f"predicted peak memory of a step {saved}"
        if before.memory.unknown:
            note += "; tensors of unknown size are not counted, give shapes with --feed"
        cards.append((size_text(old), size_text(new), note))
    if before.measured or after.measured:
        sizes = [size_text(s.measured.peak_bytes) if s.measured else "?" for s in (before, after)]
        cards.append((sizes[0], sizes[1], "measured peak memory of a step, by the trace"))
    cards.append((str(len(before.graph)), str(len(after.graph)), "nodes"))
    if before.parameters or after.parameters:
        cards.append((f"{before.parameters:,}", f"{after.parameters:,}", "variable elements"))
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _card(old: str, new: str, note: str) -> str:
    value = old if old == new else f"{old} → <b>{new}</b>"
    return f'<div class="card"><span class="value">{value}</span><span>{escape(note)}</span></div>'


def _step(step: Step) -> str:
    rejections = step.plan.rejections
    kept = _rejections(rejections) or "<p>Nothing that came near was left alone.</p>"
    return (
        f'<section class="step"><h2>Pass {escape(step.pass_.name)}</h2>'
        f"<p>{escape(_purpose(step), 500)} <b>{escape(step.plan.summary(), 2000)}.</b></p>"
        f"{_plan(step)}<h3>Left alone</h3>{kept}</section>"
    )


def _purpose(step: Step) -> str:
    """What the pass is for: the first paragraph of its description."""
    first, _, _ = (type(step.pass_).__doc__ or "").strip().partition("\n\n")
    return " ".join(first.split())


def _plan(step: Step) -> str:
    """A table for every list of records in the plan: blocks, kernels, variables."""
    found: list[str] = []
    for key, rows in step.plan.to_json().items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            found.append(f"<h3>{escape(_words(key))}</h3>{_records(rows)}")
    return "".join(found)


def _records(rows: list[Mapping[str, Any]]) -> str:
    """The scalar fields of records, without columns that say nothing."""
    keys = [
        key
        for key in rows[0]
        if not any(isinstance(row.get(key), dict | list) for row in rows)
        and any(row.get(key) for row in rows)
    ]
    head = [_words(key) for key in keys]
    cells = ([_cell(key, row.get(key)) for key in keys] for row in rows[:_ROWS])
    more = f"<p>… and {len(rows) - _ROWS} more.</p>" if len(rows) > _ROWS else ""
    return f"{_table(head, cells)}{more}"


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_bytes"):
        return size_text(int(value))
    if isinstance(value, float):
        return f"{value:.2g}" if "sparsity" not in key else f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _words(key: str) -> str:
    return _TITLES.get(key) or key.replace("_", " ")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell, 300)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{columns}</tr>{body}</table></div>'


def _rejections(rejections: Iterable[Rejection]) -> str:
    found: dict[Code, list[Rejection]] = {}
    for rejection in rejections:
        found.setdefault(rejection.code, []).append(rejection)
    return "".join(_refused(code, cases) for code, cases in found.items())


def _refused(code: Code, cases: list[Rejection]) -> str:
    told = EXPLANATIONS[code]
    items = "".join(
        f"<li>{escape(case.reason, 500)}{_nodes(case.nodes)}</li>" for case in cases[:_REASONS]
    )
    more = f"<li>… and {len(cases) - _REASONS} more</li>" if len(cases) > _REASONS else ""
    opened = " open" if len(cases) <= 3 else ""
    return (
        f'<details class="refused"{opened}><summary><code>{code.value}</code> '
        f"{len(cases)} × {escape(told.meaning)}</summary><ul>{items}{more}</ul>"
        f"<p><b>What to do:</b> {escape(told.remedy)}</p></details>"
    )


def _nodes(nodes: tuple[str, ...]) -> str:
    shown = ", ".join(f"<code>{escape(name, 120)}</code>" for name in nodes[:4])
    more = f" and {len(nodes) - 4} more" if len(nodes) > 4 else ""
    return f" <small>{shown}{more}</small>" if nodes else ""


def _crossings(crossings: tuple[Crossing, ...]) -> str:
    """What newly goes from one device to another: a user of a cluster pays for it at each step."""
    if not crossings:
        return ""
    rows = [
        (item.tensor, item.device, "unknown" if item.size is None else size_text(item.size))
        for item in crossings[:_ROWS]
    ]
    more = f"<p>… and {len(crossings) - _ROWS} more.</p>" if len(crossings) > _ROWS else ""
    table = _table(("tensor (^: a control edge)", "to", "size"), rows)
    return f"<section><h2>Newly crosses devices</h2>{table}{more}</section>"


def _ops(diff: GraphDiff) -> str:
    before, after = diff.before.ops, diff.after.ops
    rows = [(op, before.get(op, 0), after.get(op, 0)) for op in sorted({*before, *after})]
    changed = sorted((row for row in rows if row[1] != row[2]), key=lambda r: -abs(r[2] - r[1]))
    same = [row for row in rows if row[1] == row[2]]
    table = _table(
        ("op", "before", "after", ""),
        ([op, str(old), str(new), f"{new - old:+d}"] for op, old, new in changed),
    )
    rest = _table(("op", "nodes"), ([op, str(old)] for op, old, _ in same))
    shown = table if changed else "<p>No count differs.</p>"
    return (
        f'<div class="ops"><h2>Ops</h2>{shown}'
        f"<details><summary>{len(same)} ops in equal numbers</summary>{rest}</details></div>"
    )


def _entries(entries: tuple[EntryChange, ...]) -> str:
    if not entries:
        return ""
    rows = [
        (e.status.value, e.kind, e.name, e.before or "", e.after or "", "; ".join(e.lines[:20]))
        for e in entries[:_ENTRIES]
    ]
    more = f"<p>… and {len(entries) - _ENTRIES} more.</p>" if len(entries) > _ENTRIES else ""
    head = ("", "kind", "name", "before", "after", "items")
    return f"<section><h2>Beside the nodes</h2>{_table(head, rows)}{more}</section>"


def _functions(functions: tuple[FunctionChange, ...]) -> str:
    if not functions:
        return ""
    parts: list[str] = []
    for function in functions[:_ENTRIES]:
        lines = [f"{f.field}: {f.before} -> {f.after}" for f in function.fields]
        lines += [line for change in function.nodes for line in change_lines(change)]
        body = "".join(f"<div>{escape(line, 2000)}</div>" for line in lines[:_ROWS])
        name = f"{function.status.sign} {escape(function.name, 300)}"
        parts.append(f"<details><summary>{name}</summary><pre>{body}</pre></details>")
    return f"<section><h2>Functions</h2>{''.join(parts)}</section>"
