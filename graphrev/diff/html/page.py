"""Puts the page together: words and plot on top, then the explorer, then its data.

The page may load nothing: its content security policy allows the one style sheet and the one script
by their hashes. Everything that comes from a graph is either escaped text or data: JSON that a
script element of an inert type holds, compressed where it is large, drawn by ``textContent`` alone.
"""

from __future__ import annotations

import base64
import gc
import gzip
import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources

from graphrev.diff.graph_diff import GraphDiff
from graphrev.diff.html.payload import Payload, payload
from graphrev.diff.html.story import render_story
from graphrev.diff.svg import STYLE, escape

_PLAIN = 1 << 18
"""Bytes of data from which on it is compressed."""


def render_html(diff: GraphDiff, *, context: int = 1, verification: str | None = None) -> str:
    """The page.

    Args:
        diff: what to show.
        context: how many edges away from a change unchanged nodes are drawn.
        verification: how the rewrite was validated, and what came of it.
    """
    with _without_collector():
        return _rendered(diff, context, verification)


@contextmanager
def _without_collector() -> Generator[None]:
    """Rendering makes many objects and no cycles: collecting would walk both graphs for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _rendered(diff: GraphDiff, context: int, verification: str | None) -> str:
    style = f"{STYLE}{_resource('page.css')}"
    script = f'"use strict";const SVG_STYLE={json.dumps(STYLE)};\n{_resource("page.js")}'
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    title = f"{diff.before.source} → {diff.after.source}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>graphrev: {escape(title, 200)}</title><style>{style}</style></head><body>"
        f"{render_story(diff, verification)}{_EXPLORER}"
        f"{_data(payload(diff, context))}<script>{script}</script></body></html>\n"
    )


_EXPLORER = """
<section id="explorer" aria-label="Changes">
<nav id="side"><div id="find"><input id="query" type="search" autocomplete="off" spellcheck="false"
 placeholder="search: name, op:Relu, /regex/" aria-label="Search nodes by name, op:Op or /regex/">
<ol id="found" hidden></ol></div><div id="tree" role="tree" aria-label="Scopes"></div></nav>
<div id="main"><div id="bar"><span id="slot"><label for="pass">passes</label>
<input id="pass" type="range" min="0" max="0" value="0" step="1"><output id="which"></output></span>
<span id="scope"></span><span class="grow"></span>
<button id="fit" type="button" aria-pressed="false" title="fit hunks in (f)">fit</button>
<button id="keys" type="button" title="keys (?)">?</button>
<button id="theme" type="button" title="dark or light (d)">dark / light</button></div>
<p id="hint" hidden>Keys: j, k next and previous hunk; / search; [ and ] earlier and later pass;
Enter opens a node; arrows move in the tree; Esc closes; f fits hunks into their panes;
d dark or light.</p>
<div id="legend" class="gd"></div><div id="hunks"></div></div>
<aside id="detail" hidden aria-live="polite"></aside></section>
<noscript><p class="note">The hunks below need JavaScript; nothing is loaded from anywhere.</p>
</noscript>
"""


def _resource(name: str) -> str:
    return resources.files("graphrev.diff.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _data(data: Payload) -> str:
    """The data in a script element that no browser runs; ``<`` cannot end it early."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    if len(text) <= _PLAIN:
        safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        return f'<script id="data" type="application/json">{safe}</script>'
    packed = gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)
    content = base64.b64encode(packed).decode("ascii")
    return f'<script id="data" type="application/gzip">{content}</script>'
