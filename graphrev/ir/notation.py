"""The readable text notation of a graph: one node a line, everything the IR holds, exactly.

::

    graph producer=134 min_consumer=12
    x = Placeholder() {dtype=float, shape=shape[?,8]}
    y = AddV2(x, f/Split:1, ^init) {T=float} @"/device:CPU:0"
    function square(a: float) => (b: float) {
      m = Mul(a, a) {T=float}
      return b = m:z:0
    }

``a:1`` is output 1 of node ``a``, ``a`` its output 0; inside functions ``a:port:1``. Attributes:

* ``3`` is an int, ``3.0`` a float, ``true`` a bool, ``"loc:@w"`` bytes, ``float`` an element type,
  ``[...]`` a list, ``$T`` the enclosing function's attribute ``T``;
* ``shape[2,?]``, ``shape[*]`` (unknown rank); ``func(f, {T=float})``; ``opaque("0a00")`` (hex);
* ``tensor(float, shape[2], "...")``: the serialized TensorProto in base64;
* ``nan("fff8000000000000")``: a NaN other than the usual one, its 64 bits in hex.

Names that are not plain are quoted, and everything beyond printable ASCII in quotes is escaped
as Python would: no name can start a second line, turn the direction of the text or reach a terminal
raw. Fields beyond the IR's own (``extra``) are quoted hex, after ``!`` on a node.

The bytes that a node or function was read from (``raw``) are not part of the notation, so a
function read from text holds what :class:`~graphrev.ir.Function` names and no more. A node is
written under its own name; that it is filed under the same one is for ``verify`` to say.
"""

from __future__ import annotations

from graphrev.ir.notation_read import from_text
from graphrev.ir.notation_write import node_to_text, to_text, value_to_text

__all__ = ["from_text", "node_to_text", "to_text", "value_to_text"]
