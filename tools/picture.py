"""Draws the memory of a training step before and after, as an SVG for the README."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT = 720, 240
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 34, 16, 34
_INK, _BEFORE, _AFTER = "#57606a", "#c2410c", "#0369a1"


def draw(before: Sequence[int], after: Sequence[int]) -> str:
    """Both timelines (bytes at evenly spread moments of a step) over one axis of megabytes."""
    top = max(*before, *after) * 1.08
    step = _round_step(top / 1e6 / 4)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" '
        'aria-label="Memory of a training step before and after the rewrite">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" fill="{_INK}">Memory during one training step, MB '
        "(measured, 16 reversible blocks)</text>",
    ]
    level = 0
    while level * 1e6 < top:
        y = _y(level * 1e6, top)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#d8dee4" stroke-width="1"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" fill="{_INK}" text-anchor="end">{level}</text>'
        )
        level += step
    for values, colour, label in ((before, _BEFORE, "before"), (after, _AFTER, "after")):
        parts.append(_curve(values, top, colour))
        peak = max(values)
        at = list(values).index(peak)
        parts.append(
            f'<text x="{_x(at, len(values)) + 6:.1f}" y="{_y(peak, top) - 6:.1f}" '
            f'fill="{colour}" font-weight="600">{label}: {peak / 1e6:.0f} MB</text>'
        )
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" fill="{_INK}" text-anchor="end">'
        "time within the step (each step drawn to its own length)</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _round_step(wanted: float) -> int:
    return next(size for size in (1, 2, 5, 10, 25, 50, 100, 200, 500, 1000) if size >= wanted)


def _x(place: int, count: int) -> float:
    return _LEFT + place / (count - 1) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)


def _curve(values: Sequence[int], top: float, colour: str) -> str:
    points = " ".join(f"{_x(i, len(values)):.1f},{_y(v, top):.1f}" for i, v in enumerate(values))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
