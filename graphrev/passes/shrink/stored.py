"""The values of constants and variables, as the graph and its checkpoint store them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphrev.analysis.ops import is_constant, is_variable
from graphrev.analysis.saved_names import saved_names
from graphrev.io.tensors import to_numpy
from graphrev.ir import Graph, TensorValue
from graphrev.passes.shrink.arithmetic import Array

_FREELY = 1 << 26
"""Bytes that a constant may unpack to however few it is stored in."""


class StoredWeights:
    """Looks values up by node name.

    Args:
        saved: the variables by the names they are saved under.
    """

    def __init__(self, graph: Graph, saved: Mapping[str, Array] | None) -> None:
        self._graph = graph
        self._saved = saved or {}
        self._names = saved_names(graph) if saved is not None else {}

    def __call__(self, name: str) -> Array | None:
        """The value; ``None`` where it is not known, damaged, or claims to be very large."""
        node = self._graph[name]
        if is_variable(node.op):
            return self._saved.get(self._names.get(name, name))
        value = node.attrs.get("value")
        if not is_constant(node.op) or not isinstance(value, TensorValue):
            return None
        dims = value.shape.dims
        if not value.dtype.is_floating or dims is None or None in dims:
            return None
        size = (value.dtype.byte_size or 8) * math.prod(dim or 0 for dim in dims)
        if size > max(_FREELY, 2 * len(value.raw)):
            return None
        try:
            return to_numpy(value)
        except (TypeError, ValueError):
            return None
