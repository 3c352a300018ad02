"""One page with a curve per kernel: the loss over the share of its weights that is dropped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from graphrev.diff.svg import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 720, 300, 64, 16, 30, 12
_APART = 36
"""Between the middles of two labels, at least."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
"""Tell curves of one colour apart."""
_STYLE = """
.curves polyline{stroke-width:1.8;fill:none}.curves .dense{stroke:var(--soft);stroke-dasharray:3 3}
.curves{max-width:900px;flex:none}.key{width:34px;height:10px;vertical-align:middle}
.key line{stroke-width:2.5}.number{text-align:right;font-variant-numeric:tabular-nums}
"""
_COLOURS = (
    "#3b4fc4",
    "#12783d",
    "#b42318",
    "#93600a",
    "#0e6090",
    "#7a2ea0",
    "#e0662a",
    "#475467",
)


def render_curves(scan: Mapping[str, Any], source: str) -> str:
    """The page of a sensitivity scan, given as its plain data; nothing is loaded from anywhere."""
    style = f"{_resource('page.css')}{_STYLE}{_colours()}"
    policy = f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src {_hash(style)}"
    title = f"Sensitivity of {source}"
    said = f"loss '{scan['loss']}', {_number(scan['dense'])} with every kernel whole"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>graphrev: {escape(title, 200)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title, 300)}</h1><p>{escape(said, 300)}</p></header>"
        f"<section>{_plot(scan)}{_table(scan)}</section></body></html>\n"
    )


def _plot(scan: Mapping[str, Any]) -> str:
    kernels: Sequence[Any] = scan["kernels"]
    finite = [loss for kernel in kernels for loss in kernel["losses"] if abs(loss) < 1e300]
    low, high = min([scan["dense"], *finite]), max([scan["dense"], *finite])
    box = (low, high if high > low else low + 1.0, max(scan["levels"][-1], 1e-9))
    lines = "".join(
        f"<polyline {_line(place)} "
        f'points="{_points(scan["levels"], kernel["losses"], box)}">'
        f"<title>{escape(kernel['kernel'], 200)}</title></polyline>"
        for place, kernel in enumerate(kernels)
    )
    y = _y(scan["dense"], box)
    dense = f'<line class="dense" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return (
        '<div class="plot curves"><h2>Loss by the share of weights dropped</h2>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{len(kernels)} kernels; the table below holds the numbers">'
        f"{_grid(scan['levels'], box)}{dense}{lines}</svg>"
        '<p class="keys">One kernel is pruned at a time; dashed: the dense loss.</p></div>'
    )


_Box = tuple[float, float, float]
"""The lowest and the highest loss, the highest level."""


def _x(level: float, box: _Box) -> float:
    return _LEFT + level / box[2] * (_WIDTH - _LEFT - _RIGHT)


def _y(loss: float, box: _Box) -> float:
    return _TOP + (box[1] - loss) / (box[1] - box[0]) * (_HEIGHT - _TOP - _BOTTOM)


def _points(levels: Sequence[float], losses: Sequence[float], box: _Box) -> str:
    pairs = [(a, b) for a, b in zip(levels, losses) if box[0] <= b <= box[1]]
    return " ".join(f"{_x(level, box):.1f},{_y(loss, box):.1f}" for level, loss in pairs)


def _line(place: int) -> str:
    """The colour and the dashes of a kernel's curve, as attributes."""
    pattern = _DASHES[place // len(_COLOURS) % len(_DASHES)]
    dashes = f' stroke-dasharray="{pattern}"' if pattern else ""
    return f'class="c{place % len(_COLOURS)}"{dashes}'


def _grid(levels: Sequence[float], box: _Box) -> str:
    parts: list[str] = []
    for quarter in range(5):
        loss = box[0] + (box[1] - box[0]) * quarter / 4
        y = _y(loss, box)
        ends = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="grid" {ends}/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.3g}</text>')
    last = -_APART
    for level in levels:
        x = _x(level, box)
        if x - last >= _APART:
            place = f'x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle"'
            parts.append(f"<text {place}>{_share(level)}</text>")
            last = x
    return "".join(parts)


def _table(scan: Mapping[str, Any]) -> str:
    targets = [entry.rpartition(":")[2] for entry in scan.get("targets", ())]
    heads = "".join(f'<th class="number">{_share(level)}</th>' for level in scan["levels"])
    rows: list[str] = []
    for place, kernel in enumerate(scan["kernels"]):
        key = (
            '<svg class="key" viewBox="0 0 34 10" aria-hidden="true"><line '
            f'{_line(place)} x1="0" x2="34" y1="5" y2="5"/></svg>'
        )
        cells = "".join(f'<td class="number">{_number(loss)}</td>' for loss in kernel["losses"])
        last = f'<td class="number">{float(targets[place]):.1%}</td>' if targets else ""
        shape = "x".join(map(str, kernel["shape"]))
        name = f'<td>{key} <span class="mono">{escape(kernel["kernel"], 200)}</span></td>'
        rows.append(f"<tr>{name}<td>{shape}</td>{cells}{last}</tr>")
    wish = f"<th>target for {_share(scan['sparsity'])} in all</th>" if targets else ""
    head = f"<tr><th>kernel</th><th>shape</th>{heads}{wish}</tr>"
    return f'<h2>Losses</h2><div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _share(value: float) -> str:
    return f"{100 * value:.4g}%"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _colours() -> str:
    return "".join(f".c{place}{{stroke:{colour}}}" for place, colour in enumerate(_COLOURS))


def _resource(name: str) -> str:
    return resources.files("graphrev.diff.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
