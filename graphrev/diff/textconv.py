"""A model as lines of text that git can compare: one line per node, and what is around the graph.

Constants are shown by the hash of their content: a weight that changes changes its line, and does
not fill the screen.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrev.diff.envelopes import envelope_lines
from graphrev.diff.notation import node_line
from graphrev.io.model import Model
from graphrev.ir.notation import to_text

_VALUE = 1 << 16


def textconv(model: Model) -> Iterator[str]:
    """The lines, without line ends, printable ASCII only."""
    graph = model.graph
    yield f"versions producer={graph.versions.producer} min_consumer={graph.versions.min_consumer}"
    yield from envelope_lines(model)
    for node in graph.nodes.values():
        yield node_line(node, _VALUE)
    for function in graph.functions.values():
        single = type(graph)({}, {function.name: function})
        yield from to_text(single).splitlines()[1:]
