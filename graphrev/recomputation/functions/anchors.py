"""Saves a carried loop variable every ``k`` iterations, which bounds its rounding drift.

No branch is needed. The forward body pushes the variable, flattened, where ``k`` divides the number
of the iteration, and an empty tensor elsewhere; it is gathered, for a slice of nothing would keep
the whole buffer alive (core/framework/tensor.cc, "Tensor::Slice"). The gradient body pops it, puts
what it carries behind it, and goes on with the first elements of the two, as many as there belong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from graphrev.io.constants import splat, vector
from graphrev.ir import AttrValue, DType, Node, TensorRef

_INT = DType.INT32


class Anchoring:
    """Builds nodes in one body.

    Args:
        free: makes a name that is free.
        nodes: the body's nodes, which are added to.
    """

    def __init__(self, free: Callable[[str], str], nodes: dict[str, Node]) -> None:
        self._free = free
        self._nodes = nodes

    def part(self, value: TensorRef, dtype: DType, done: TensorRef, every: int) -> TensorRef:
        """The elements of ``value`` where ``every`` divides ``done`` + 1, and none elsewhere."""
        one, zero = self._int(1), self._int(0)
        count = self._add("AddV2", (done, one), {"T": _INT})
        rest = self._add("FloorMod", (count, self._int(every)), {"T": _INT})
        now = self._add("Equal", (rest, zero), {"T": _INT})
        flag = self._add("Cast", (now,), {"SrcT": DType.BOOL, "DstT": _INT})
        size = self._add("Size", (value,), {"T": dtype, "out_type": _INT})
        limit = self._add("Mul", (flag, size), {"T": _INT})
        places = self._add("Range", (zero, limit, one), {"Tidx": _INT})
        attrs: Mapping[str, AttrValue] = {"Tparams": dtype, "Tindices": _INT, "Taxis": _INT}
        return self._add("GatherV2", (self._flat(value, dtype), places, zero), attrs)

    def merged(self, saved: TensorRef, carried: TensorRef, dtype: DType) -> TensorRef:
        """``saved``, in the shape of ``carried``, or ``carried`` where nothing was saved."""
        both = (saved, self._flat(carried, dtype), self._int(0))
        joined = self._add("ConcatV2", both, {"T": dtype, "Tidx": _INT, "N": 2})
        shape = self._add("Shape", (carried,), {"T": dtype, "out_type": _INT})
        size = self._add("Size", (carried,), {"T": dtype, "out_type": _INT})
        places = self._add("Range", (self._int(0), size, self._int(1)), {"Tidx": _INT})
        attrs: Mapping[str, AttrValue] = {"Tparams": dtype, "Tindices": _INT, "Taxis": _INT}
        first = self._add("GatherV2", (joined, places, self._int(0)), attrs)
        return self._add("Reshape", (first, shape), {"T": dtype, "Tshape": _INT})

    def _flat(self, value: TensorRef, dtype: DType) -> TensorRef:
        all_ = self._constant(vector(_INT, [-1]))
        return self._add("Reshape", (value, all_), {"T": dtype, "Tshape": _INT})

    def _int(self, value: int) -> TensorRef:
        return self._constant(splat(_INT, value))

    def _constant(self, value: AttrValue) -> TensorRef:
        return self._add("Const", (), {"dtype": _INT, "value": value})

    def _add(
        self, op: str, inputs: tuple[TensorRef, ...], attrs: Mapping[str, AttrValue]
    ) -> TensorRef:
        name = self._free(f"graphrev_anchor/{op}")
        self._nodes[name] = Node(name, op, inputs, attrs=MappingProxyType({**attrs}))
        return TensorRef(name)
