"""Two constants compared in numbers."""

from __future__ import annotations

import math
from typing import Any

from graphrev.diff.graph_diff import TensorChange
from graphrev.io.tensors import to_numpy
from graphrev.ir import TensorValue
from graphrev.ir.notation import value_to_text

_LARGEST = 1 << 26
"""Elements; a constant may claim a shape that fills the memory with one repeated value."""


def compare_tensors(before: TensorValue, after: TensorValue) -> TensorChange:
    """Types, shapes, largest difference and share of zeros of two constants."""
    left, right = _content(before), _content(after)
    return TensorChange(
        _kind(before),
        _kind(after),
        _max_difference(left, right),
        _sparsity(left),
        _sparsity(right),
    )


def _kind(value: TensorValue) -> str:
    return f"{value_to_text(value.dtype)} {value_to_text(value.shape)}"


def _content(value: TensorValue) -> Any:
    """The array; ``None`` for what is no array of numbers, or cannot be read."""
    dims = value.shape.dims
    if dims is None or any(dim is None or dim < 0 for dim in dims):
        return None
    if math.prod(dim for dim in dims if dim is not None) > _LARGEST:
        return None
    try:
        array = to_numpy(value)
    except Exception:  # a damaged constant is no reason to show nothing else
        return None
    return array if array.dtype.kind in "biufc" or array.dtype.name == "bfloat16" else None


def _max_difference(left: Any, right: Any) -> float | None:
    if left is None or right is None or left.shape != right.shape or left.dtype != right.dtype:
        return None
    if not left.size:
        return 0.0
    import numpy as np

    wide = np.complex128 if left.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        found = float(np.max(np.abs(left.astype(wide) - right.astype(wide))))
    return found if math.isfinite(found) else None


def _sparsity(array: Any) -> float | None:
    if array is None or not array.size:
        return None
    return float((array == 0).mean())
