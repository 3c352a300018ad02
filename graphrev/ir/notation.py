"""The readable text notation of a graph: one node a line, everything the IR holds, exactly.

::

    graph producer=134 min_consumer=12
    x = Placeholder() {dtype=float, shape=shape[?,8]}
    y = AddV2(x, f/Conv2D, ^init) {T=float} @"/device:CPU:0"
    function square(a: float) => (b: float) {
      m = Mul(a, a) {T=float}
      return b = m:z
    }

``a:1`` is output 1 of node ``a``, ``a`` its output 0; inside functions ``a:port:1``. Names that are
not plain are quoted and escaped like JSON strings, so no name can start a second line or reach a
terminal raw. The bytes a node was read from (``Node.raw``) are not part of the notation.
"""

from __future__ import annotations

from graphrev.ir.notation_read import from_text
from graphrev.ir.notation_write import node_to_text, to_text, value_to_text

__all__ = ["from_text", "node_to_text", "to_text", "value_to_text"]
