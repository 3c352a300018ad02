"""The memory of a step over its ops as an inline SVG plot, before and after."""

from __future__ import annotations

from graphrev.analysis.liveness import MemoryProfile
from graphrev.diff.facts import size_text
from graphrev.diff.svg import escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 64, 26, 12
_POINTS = 360
"""Points at most; each stands for the most bytes alive in its share of the step."""


def memory_plot(before: MemoryProfile | None, after: MemoryProfile | None) -> str:
    """The plot as HTML; a sentence where nothing could be predicted."""
    if before is None or after is None:
        said = "Not predicted: a graph breaks a structural invariant."
        return f'<div class="plot"><h2>Memory of a step</h2><p>{said}</p></div>'
    top = max(before.peak_bytes, after.peak_bytes, 1)
    lines = "".join(
        f'<polyline class="{kind}" points="{_points(profile, top)}"/>{_peak(profile, kind, top)}'
        for kind, profile in (("before", before), ("after", after))
    )
    said = (
        f"before: {size_text(before.peak_bytes)} at {before.peak_node}; "
        f"after: {size_text(after.peak_bytes)} at {after.peak_node}"
    )
    return (
        '<div class="plot"><h2>Memory of a step (predicted)</h2>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said, 500)}">'
        f"{_grid(top)}{lines}</svg>"
        '<p class="keys"><span class="before">before</span> <span class="after">after</span> '
        f"bytes alive over the ops of a step; peak {escape(said, 500)}.</p></div>"
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 8)


def _y(count: float, top: int) -> float:
    return _TOP + (1 - count / top) * (_HEIGHT - _TOP - _BOTTOM)


def _points(profile: MemoryProfile, top: int) -> str:
    sizes = [size for _, size in profile.timeline]
    step = max(1, -(-len(sizes) // _POINTS))
    parts = [sizes[i : i + step] for i in range(0, len(sizes), step)]
    last = max(len(parts) - 1, 1)
    return " ".join(f"{_x(i / last):.1f},{_y(max(p), top):.1f}" for i, p in enumerate(parts))


def _peak(profile: MemoryProfile, kind: str, top: int) -> str:
    """A line at the predicted peak, which lies inside an op and not after it."""
    y = _y(profile.peak_bytes, top)
    return f'<line class="peak {kind}" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _grid(top: int) -> str:
    parts: list[str] = []
    for quarter in range(5):
        count = top * quarter / 4
        y, label = _y(count, top), size_text(int(count))
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">first op</text>')
    parts.append(f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 6}" text-anchor="end">last op</text>')
    return "".join(parts)
