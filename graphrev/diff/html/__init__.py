"""One self-contained HTML page about a difference: no network, no third-party script."""

from graphrev.diff.html.page import render_html

__all__ = ["render_html"]
