"""Small integer tensors that hold shapes and axes, followed as far as they are known.

``Reshape(x, Pack([StridedSlice(Shape(x)), 128]))`` is how programs and gradients say "the batch
size by 128"; without following such values most shapes of a training graph would be unknown. A
value is a flat tuple; an element nobody knows is a symbol.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from graphrev.analysis.dims import Dim, product, quotient, total
from graphrev.analysis.shape_inputs import Inputs, integer
from graphrev.io.tensors import integers as constant_integers
from graphrev.ir import Node, TensorValue

Value = tuple[Dim, ...]
_LONGEST = 64

ValueRule = Callable[[Inputs, Node], "tuple[Value | None, ...] | None"]


def output_value(known: Inputs, node: Node) -> tuple[Value | None, ...] | None:
    """The integers each output holds; ``None`` where the op has no rule."""
    rule = _RULES.get(node.op)
    return None if rule is None else rule(known, node)


def _constant(known: Inputs, node: Node) -> tuple[Value | None, ...] | None:
    value = node.attrs.get("value")
    return (constant_integers(value),) if isinstance(value, TensorValue) else None


def _shape(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    return tuple(known.dims(node, i) for i in range(len(node.inputs)))


def _size(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    dims = known.dims(node)
    return (None if dims is None else (product(dims),),)


def _rank(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    dims = known.dims(node)
    return (None if dims is None else (len(dims),),)


def _same(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    return (known.value(node, 0),)


def _pack(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    parts = [known.value(node, i) for i in range(len(node.inputs))]
    if len(parts) > _LONGEST or any(part is not None and len(part) != 1 for part in parts):
        return (None,)
    if all(part is None for part in parts) or not _is_integer(node, "T"):
        return (None,)
    return (tuple(("packed", node.name, i) if p is None else p[0] for i, p in enumerate(parts)),)


def _is_integer(node: Node, key: str) -> bool:
    return node.attrs.get(key) in (3, 9)


def _concat(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    parts = [known.value(node, i) for i in range(len(node.inputs) - 1)]
    known_parts = [part for part in parts if part is not None]
    if len(known_parts) != len(parts) or sum(map(len, known_parts)) > _LONGEST:
        return (None,)
    return (tuple(dim for part in known_parts for dim in part),)


def _strided_slice(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    value, dims = known.value(node, 0), known.dims(node, 0)
    bounds = [known.numbers(node, i) for i in (1, 2, 3)]
    if value is None or dims is None or len(dims) != 1:
        return (None,)
    if any(bound is None or len(bound) != 1 for bound in bounds):
        return (None,)
    if integer(node, "ellipsis_mask") or integer(node, "new_axis_mask"):
        return (None,)
    begin, end, stride = (bound[0] for bound in bounds if bound is not None)
    if integer(node, "shrink_axis_mask"):
        return (value[begin : begin + 1 or None],)
    start = None if integer(node, "begin_mask") else begin
    stop = None if integer(node, "end_mask") else end
    return (value[start:stop:stride],) if stride else (None,)


def _elementwise(combine: Callable[[Dim, Dim], Dim | None]) -> ValueRule:
    def rule(known: Inputs, node: Node) -> tuple[Value | None, ...]:
        left, right = known.value(node, 0), known.value(node, 1)
        if left is None or right is None:
            return (None,)
        width = max(len(left), len(right))
        if len(left) not in (1, width) or len(right) not in (1, width):
            return (None,)
        pairs = zip(left * (width // len(left or (0,))), right * (width // len(right or (0,))))
        result = tuple(combine(a, b) for a, b in pairs)
        kept = tuple(item for item in result if item is not None)
        return (kept if len(kept) == len(result) else None,)

    return rule


def _add(a: Dim, b: Dim) -> Dim | None:
    return total((a, b))


def _multiply(a: Dim, b: Dim) -> Dim | None:
    return product((a, b))


def _divide(a: Dim, b: Dim) -> Dim | None:
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b else None
    return a if b == 1 else quotient((a,), (b,))


def _numbers(combine: Callable[[int, int], int]) -> Callable[[Dim, Dim], Dim | None]:
    def rule(a: Dim, b: Dim) -> Dim | None:
        return combine(a, b) if isinstance(a, int) and isinstance(b, int) else None

    return rule


def _modulo(a: int, b: int) -> int:
    return a % b if b else 0


def _maximum(a: Dim, b: Dim) -> Dim | None:
    """Gradients of reductions clamp sizes to at least 1; a symbolic size is taken to be so."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    if b == 1:
        return a
    return b if a == 1 else None


def _range(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    parts = [known.numbers(node, i) for i in range(3)]
    if any(not part for part in parts):
        return (None,)
    start, limit, delta = (part[0] for part in parts if part)
    if not delta or abs((limit - start) // delta) > _LONGEST:
        return (None,)
    return (tuple(range(start, limit, delta)),)


def _fill(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    dims, value = known.numbers(node, 0), known.value(node, 1)
    if dims is None or not value or len(dims) > 1:
        return (None,)
    count = dims[0] if dims else 1
    return (value * count if count <= _LONGEST else None,)


def _product(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    value, dims = known.value(node, 0), known.dims(node, 0)
    if value is None or dims is None or len(dims) != 1:
        return (None,)
    return ((product(value),),)


def _gather(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    value, where, dims = known.value(node, 0), known.numbers(node, 1), known.dims(node, 0)
    if value is None or where is None or dims is None or len(dims) != 1:
        return (None,)
    if any(not 0 <= place < len(value) for place in where):
        return (None,)
    return (tuple(value[place] for place in where),)


def _slice(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    value, begin, size = known.value(node, 0), known.numbers(node, 1), known.numbers(node, 2)
    if value is None or not begin or not size or len(begin) != 1:
        return (None,)
    stop = None if size[0] == -1 else begin[0] + size[0]
    return (value[begin[0] : stop],)


def _dynamic_stitch(known: Inputs, node: Node) -> tuple[Value | None, ...]:
    """The gradient of a reduction writes ones over the reduced axes of a shape this way."""
    half = len(node.inputs) // 2
    merged: dict[int, Dim] = {}
    for i in range(half):
        places, value = known.numbers(node, i), known.value(node, half + i)
        if places is None or value is None or len(places) != len(value):
            return (None,)
        merged.update(zip(places, value))
    if sorted(merged) != list(range(len(merged))):
        return (None,)
    return (tuple(merged[i] for i in range(len(merged))),)


def broadcast_axes(known: Inputs, node: Node) -> tuple[Value | None, Value | None]:
    """The axes each shape was broadcast over (core/util/bcast.h), where that can be told.

    Two sizes of 1 on one axis are left open: which side counts them depends on their neighbours.
    """
    left, right = known.value(node, 0), known.value(node, 1)
    if left is None or right is None:
        return (None, None)
    if left == right:
        return ((), ())
    width = max(len(left), len(right))
    pairs = [*zip(*((1,) * (width - len(side)) + side for side in (left, right)))]
    if (1, 1) in pairs or not all(isinstance(dim, int) for dim in (*left, *right)):
        return (None, None)
    over = [tuple(i for i, pair in enumerate(pairs) if pair[side] == 1) for side in (0, 1)]
    return (over[0], over[1])


_RULES: dict[str, ValueRule] = {
    "Add": _elementwise(_add),
    "AddV2": _elementwise(_add),
    "BroadcastGradientArgs": broadcast_axes,
    "Cast": _same,
    "ConcatV2": _concat,
    "Const": _constant,
    "DynamicStitch": _dynamic_stitch,
    "ExpandDims": _same,
    "Fill": _fill,
    "FloorDiv": _elementwise(_divide),
    "FloorMod": _elementwise(_numbers(_modulo)),
    "Gather": _gather,
    "GatherV2": _gather,
    "Identity": _same,
    "Maximum": _elementwise(_maximum),
    "Mul": _elementwise(_multiply),
    "Pack": _pack,
    "Prod": _product,
    "Range": _range,
    "Rank": _rank,
    "Reshape": _same,
    "Shape": _shape,
    "ShapeN": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _same,
    "StridedSlice": _strided_slice,
    "Sub": _elementwise(_numbers(operator.sub)),
}
