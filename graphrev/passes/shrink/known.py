"""What is known of the values of tensors while they are followed through the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from graphrev.analysis.channels import Channels, Product
from graphrev.ir import TensorRef
from graphrev.passes.shrink.arithmetic import Array

Weights: TypeAlias = Callable[[str], "Array | None"]


@dataclass(frozen=True, slots=True)
class Filters:
    """A kernel as ``[input channel, filter]``: whether any weight is not zero, and their sum."""

    used: np.ndarray[Any, np.dtype[np.bool_]]
    sums: Array


@dataclass(eq=False)
class Constants:
    """What is known of each tensor's values.

    Attributes:
        bordered: tensors that were padded with zeros: the value holds within the border.
    """

    channels: Channels
    weights: Weights
    found: dict[TensorRef, Array] = field(default_factory=dict[TensorRef, Any])
    bordered: set[TensorRef] = field(default_factory=set[TensorRef])
    _filters: dict[str, Filters | None] = field(default_factory=dict[str, Any])

    def of(self, ref: TensorRef) -> Array | None:
        """The value; ``None`` where nothing is known. Within a border only zeros are constant."""
        value = self.found.get(ref)
        if value is None or ref not in self.bordered:
            return value
        return np.where(value == 0, 0.0, np.nan)

    def is_padded(self, product: Product) -> bool:
        """Whether the product, or what it reads, has a border of zeros."""
        return product.is_padded or product.data in self.bordered

    def along(self, ref: TensorRef, axis: int, size: int) -> Array:
        """The number in each channel along an axis (within its border); NaN where there is none."""
        value = self.found.get(ref)
        if value is None or value.ndim <= axis:
            return np.full(size, np.nan)
        others = tuple(i for i in range(value.ndim) if i != axis)
        if any(value.shape[i] != 1 for i in others):
            return np.full(size, np.nan)
        return np.broadcast_to(value.reshape(-1), (size,)).astype(np.float64)

    def filters(self, product: Product) -> Filters | None:
        """The kernel of a product; ``None`` where its weights are not known."""
        if product.node not in self._filters:
            kernel = self.found.get(product.kernel)
            known = None
            if kernel is not None and np.isfinite(kernel).all():
                ordered = np.moveaxis(kernel, (product.in_axis, product.out_axis), (-2, -1))
                flat = ordered.reshape(-1, *ordered.shape[-2:])
                known = Filters((flat != 0).any(0), flat.sum(0, dtype=np.float64))
            self._filters[product.node] = known
        return self._filters[product.node]

    def note(self, ref: TensorRef, value: Array) -> None:
        """Keeps a value, with axes that are not followed folded away."""
        if ref not in self.channels.fixed:
            value = np.where(np.isfinite(value), value, np.nan).astype(np.float64)
            for axis, size in enumerate(value.shape):
                if size > 1 and axis not in self.channels.axes.get(ref, {}):
                    first = value.take([0], axis)
                    value = np.where((value == first).all(axis, keepdims=True), first, np.nan)
            if np.isnan(value).all():
                return
        self.found[ref] = value

    def numbers(self, ref: TensorRef) -> tuple[int, ...]:
        """The elements of an integer tensor that are known."""
        value: Sequence[Any] = self.channels.shapes.values.get(ref, ())
        return tuple(item for item in value if isinstance(item, int))


def vector_along(vector: Array, axis: int, rank: int) -> Array:
    """A vector as a tensor of ``rank`` that lies along ``axis``."""
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])
