"""Hunks as SVG: before on the left, after on the right, everything at the same place on both.

Colours come from classes alone (``STYLE``), so that a page may restyle a picture; every text is
escaped, and what a terminal or a reader would obey is spelled out first.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from graphrev.diff.drawing import AFTER, BEFORE, Box, Draftsman, Drawing, Line
from graphrev.diff.graph_diff import GraphDiff
from graphrev.diff.hunks import hunks_of
from graphrev.diff.layout import HEIGHT, WIDTH, Point
from graphrev.diff.text import count_text, hunk_title
from graphrev.errors import printable

STYLE = """
.gd{font:11px ui-monospace,Menlo,Consolas,monospace;--bg:#fff;--fg:#1c2330;--dim:#667085;
--line:#98a2b3;--box:#f2f4f7;--edge:#d0d5dd;--back:#eef4ff;--add:#12783d;--addbg:#dcfae6;
--del:#b42318;--delbg:#fee4e2;--chg:#93600a;--chgbg:#fef0c7;--ren:#0e6090;--renbg:#d5f0fb;
--clone:#7a3fc0;--ctl:#c4420a}
.gd .sheet{fill:var(--bg)}
.gd text{fill:var(--fg)}.gd .sub,.gd .cap{fill:var(--dim)}.gd .title{font-weight:700}
.gd .op{font-weight:700}
.gd rect.body{fill:var(--box);stroke:var(--edge);stroke-width:1}
.gd .bwd rect.body{fill:var(--back)}
.gd .added rect.body{fill:var(--addbg);stroke:var(--add);stroke-width:1.5}
.gd .removed rect.body{fill:var(--delbg);stroke:var(--del);stroke-width:1.5}
.gd .changed rect.body{fill:var(--chgbg);stroke:var(--chg);stroke-width:1.5}
.gd .renamed rect.body{fill:var(--renbg);stroke:var(--ren);stroke-width:1.5}
.gd path{fill:none;stroke:var(--line);stroke-width:1.2}
.gd path.new{stroke:var(--add);stroke-width:1.6}.gd path.old{stroke:var(--del);stroke-width:1.6}
.gd path.control{stroke:var(--ctl);stroke-dasharray:5 3}
.gd path.clone{stroke:var(--clone);stroke-dasharray:1 4;stroke-linecap:round}
.gd .border{stroke:var(--edge);stroke-dasharray:2 4}
.gd marker path{fill:var(--line);stroke:none}
"""
_MARGIN, _CAPTION = 16, 22


def escape(text: str, limit: int = 10_000) -> str:
    """Text made safe for XML and HTML, in content and in quoted attributes."""
    shown = printable(text, limit)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        shown = shown.replace(char, entity)
    return shown.replace("'", "&#39;")


def render_svg(diff: GraphDiff, *, context: int = 1) -> str:
    """All hunks under each other in one picture."""
    draftsman = Draftsman(diff)
    parts: list[str] = []
    width, top = 400.0, 8.0
    for hunk in hunks_of(diff, context):
        drawing = draftsman.draw(hunk)
        pane = pane_size(drawing)
        title = f"{hunk_title(hunk)}  {count_text(hunk.counts)}"
        parts.append(f'<g transform="translate(8 {_n(top)})">')
        parts.append(f'<text class="title" x="0" y="14">{escape(title, 300)}</text>')
        for side, name, left in ((BEFORE, "before", 0.0), (AFTER, "after", pane[0] + 24)):
            parts.append(f'<g transform="translate({_n(left)} 22)">')
            parts.append(f'<text class="cap" x="{_MARGIN}" y="14">{name}</text>')
            parts.append(pane_body(drawing, side))
            parts.append("</g>")
        parts.append("</g>")
        width = max(width, 2 * pane[0] + 40, 7 * len(title) + 16.0)
        top += pane[1] + 46
    if not parts:
        parts.append('<text x="16" y="24">Nothing differs.</text>')
        top += 32
    return document("".join(parts), width, top)


def document(body: str, width: float, height: float) -> str:
    """A standalone SVG file around ``body``."""
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gd" {size}>'
        f"<style>{STYLE}</style>{_MARKER}"
        f'<rect class="sheet" width="100%" height="100%"/>{body}</svg>\n'
    )


_MARKER = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)


def pane_size(drawing: Drawing) -> tuple[float, float]:
    """Width and height of one side."""
    return drawing.width + 2 * _MARGIN, drawing.height + 2 * _MARGIN + _CAPTION


def pane_body(drawing: Drawing, side: int) -> str:
    """The boxes and lines of one side."""
    return "".join(_parts(drawing, side))


def _parts(drawing: Drawing, side: int) -> Iterator[str]:
    yield f'<g transform="translate({_MARGIN} {_MARGIN + _CAPTION})">'
    if drawing.border is not None:
        x = _n(drawing.border)
        yield f'<line class="border" x1="{x}" y1="-14" x2="{x}" y2="{_n(drawing.height)}"/>'
        end = _n(drawing.border - 6)
        yield f'<text class="cap" text-anchor="end" x="{end}" y="-8">forward</text>'
        yield f'<text class="cap" x="{_n(drawing.border + 6)}" y="-8">backward</text>'
    for line in drawing.lines:
        if line.sides & side:
            yield _line(drawing, line)
    for number, box in enumerate(drawing.boxes):
        if box.sides & side:
            yield _box(number, box)
    yield "</g>"


def _box(number: int, box: Box) -> str:
    x, y = box.place
    kind = f"n {box.status}{' bwd' if box.backward else ''}"
    sub = _tail(box.node.name)
    return (
        f'<g class="{kind}" data-n="{number}" transform="translate({_n(x)} {_n(y)})">'
        f'<rect class="body" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text class="op" x="8" y="15">{escape(box.node.op, 20)}</text>'
        f'<text class="sub" x="8" y="29">{escape(sub)}</text></g>'
    )


def _tail(name: str, limit: int = 20) -> str:
    shown = printable(name[-200:], 2000)
    return shown if len(shown) <= limit else f"…{shown[1 - limit :]}"


def _line(drawing: Drawing, line: Line) -> str:
    kinds = {"data": "", "control": " control", "clone": " clone"}
    novelty = {BEFORE: " old", AFTER: " new"}.get(line.sides, "") if line.kind == "data" else ""
    tip = "" if line.kind == "clone" else ' marker-end="url(#tip)"'
    ends = f'data-a="{line.source}" data-b="{line.target}"'
    return (
        f'<path class="e{kinds[line.kind]}{novelty}" {ends} d="{line_path(drawing, line)}"{tip}/>'
    )


def line_path(drawing: Drawing, line: Line) -> str:
    """The path of a line, as an SVG ``d`` attribute."""
    source, target = drawing.boxes[line.source], drawing.boxes[line.target]
    return _flat(source, target) if line.kind != "data" else _curve(source, target, line.bends)


def _curve(source: Box, target: Box, bends: tuple[Point, ...]) -> str:
    """Down from the middle of one box through the bend points to the top of the other."""
    points = [
        (source.place[0] + WIDTH / 2, source.place[1] + HEIGHT),
        *bends,
        (target.place[0] + WIDTH / 2, target.place[1]),
    ]
    parts = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2 if y2 > y1 else y1 + 24
        other = (y1 + y2) / 2 if y2 > y1 else y2 - 24
        parts.append(f"C{_n(x1)} {_n(middle)} {_n(x2)} {_n(other)} {_n(x2)} {_n(y2)}")
    return "".join(parts)


def _flat(source: Box, target: Box) -> str:
    """From side to side: it says who is tied to whom, not where data flows."""
    right = source.place[0] <= target.place[0]
    x1 = source.place[0] + (WIDTH if right else 0)
    x2 = target.place[0] + (0 if right else WIDTH)
    y1, y2 = source.place[1] + HEIGHT / 2, target.place[1] + HEIGHT / 2
    if source.place[0] == target.place[0]:
        x2 = x1
        return f"M{_n(x1)} {_n(y1)}C{_n(x1 + 40)} {_n(y1)} {_n(x2 + 40)} {_n(y2)} {_n(x2)} {_n(y2)}"
    bend = (x1 + x2) / 2
    return f"M{_n(x1)} {_n(y1)}C{_n(bend)} {_n(y1)} {_n(bend)} {_n(y2)} {_n(x2)} {_n(y2)}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
