"""The memory of a step as inline SVG plots, before and after: predicted, and measured if traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphrev.analysis.liveness import MemoryProfile
from graphrev.diff.facts import size_text
from graphrev.diff.graph_diff import Side
from graphrev.diff.svg import escape
from graphrev.diff.trace import Measured

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 64, 26, 12
_POINTS = 360
"""Points at most; each stands for the most bytes alive in its share of the step."""


@dataclass(frozen=True)
class _Series:
    """One line: its class, where along the step (0 to 1) how many bytes are alive, its peak."""

    kind: str
    points: Sequence[tuple[float, int]]
    peak: int
    said: str


def memory_plot(before: Side, after: Side) -> str:
    """The plots as HTML; a sentence where nothing could be predicted."""
    return f'<div class="plot">{"".join(_parts(before, after))}</div>'


def _parts(before: Side, after: Side) -> Iterator[str]:
    if before.memory is None or after.memory is None:
        said = "Not predicted: a graph breaks a structural invariant."
        yield f"<h2>Memory of a step</h2><p>{said}</p>"
    else:
        lines = [_predicted("before", before.memory), _predicted("after", after.memory)]
        axis = ("first op", "last op")
        yield _plot("Memory of a step (predicted)", lines, axis, "bytes alive over the ops")
    traced = [
        _measured(kind, side.measured)
        for kind, side in (("before", before), ("after", after))
        if side.measured is not None
    ]
    if traced:
        longest = max(s.measured.timeline[-1][0] for s in (before, after) if s.measured)
        axis = ("start", "end")
        said = f"bytes alive over time, by the trace; the longer step takes {longest / 1000:.3g} ms"
        yield _plot("Memory of a step (measured)", traced, axis, said)


def _predicted(kind: str, profile: MemoryProfile) -> _Series:
    sizes = [size for _, size in profile.timeline]
    last = max(len(sizes) - 1, 1)
    said = f"{size_text(profile.peak_bytes)} at {profile.peak_node}"
    points = [(place / last, size) for place, size in enumerate(sizes)]
    return _Series(kind, points, profile.peak_bytes, said)


def _measured(kind: str, trace: Measured) -> _Series:
    last = max(trace.timeline[-1][0], 1)
    said = f"{size_text(trace.peak_bytes)} ({trace.allocator}, {trace.nodes} ops)"
    points = [(time / last, size) for time, size in trace.timeline]
    return _Series(kind, points, trace.peak_bytes, said)


def _plot(title: str, lines: Sequence[_Series], axis: tuple[str, str], what: str) -> str:
    top = max(1, *(line.peak for line in lines))
    said = "; ".join(f"{line.kind}: {line.said}" for line in lines)
    drawn = "".join(
        f'<polyline class="{line.kind}" points="{_polyline(line, top)}"/>{_peak(line, top)}'
        for line in lines
    )
    keys = " ".join(f'<span class="{line.kind}">{line.kind}</span>' for line in lines)
    return (
        f"<h2>{title}</h2>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said, 500)}">'
        f"{_grid(top, axis)}{drawn}</svg>"
        f'<p class="keys">{keys} {what}; peak {escape(said, 500)}.</p>'
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 8)


def _y(count: float, top: int) -> float:
    return _TOP + (1 - max(count, 0) / top) * (_HEIGHT - _TOP - _BOTTOM)


def _polyline(line: _Series, top: int) -> str:
    step = max(1, -(-len(line.points) // _POINTS))
    parts = [line.points[i : i + step] for i in range(0, len(line.points), step)]
    highest = ((part[0][0], max(size for _, size in part)) for part in parts)
    return " ".join(f"{_x(share):.1f},{_y(size, top):.1f}" for share, size in highest)


def _peak(line: _Series, top: int) -> str:
    """A line at the peak: a predicted one lies inside an op and not after it."""
    y, ends = _y(line.peak, top), f'x1="{_LEFT}" x2="{_WIDTH - 8}"'
    return f'<line class="peak {line.kind}" {ends} y1="{y:.1f}" y2="{y:.1f}"/>'


def _grid(top: int, axis: tuple[str, str]) -> str:
    parts: list[str] = []
    for quarter in range(5):
        count = top * quarter / 4
        y, label = _y(count, top), size_text(int(count))
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{axis[0]}</text>')
    parts.append(f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 6}" text-anchor="end">{axis[1]}</text>')
    return "".join(parts)
