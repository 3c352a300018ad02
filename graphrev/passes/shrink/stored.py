"""The values of constants and variables, as the graph and its checkpoint store them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphrev.analysis.ops import is_constant, is_variable
from graphrev.analysis.saved_names import saved_names, saved_parts
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
        self._parts = saved_parts(graph) if saved is not None else {}

    def key(self, name: str) -> str:
        """The name that a variable is saved under."""
        return self._names.get(name, name)

    def variable(self, name: str) -> Array | None:
        """A variable's value: of a partition its part. ``None`` where it is not saved."""
        whole, part = self._saved.get(self.key(name)), self._parts.get(name)
        if whole is None or part is None:
            return whole
        return whole[part] if len(part) == whole.ndim else None

    def after(self, changed: Mapping[str, Array]) -> Mapping[str, Array]:
        """What is saved once variables have other values.

        Args:
            changed: by node name; a part is written into its whole.
        """
        found = dict(self._saved)
        for name, value in changed.items():
            key, part = self.key(name), self._parts.get(name)
            if part is None:
                found[key] = value
            else:
                found[key] = found[key].copy()
                found[key][part] = value
        return found

    def __call__(self, name: str) -> Array | None:
        """The value; ``None`` where it is not known, damaged, or claims to be very large."""
        node = self._graph[name]
        if is_variable(node.op):
            return self.variable(name)
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
