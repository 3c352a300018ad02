"""Batch norms of constants become a bias: the convolution's kernel takes their scale.

``norm(conv(x, w)) = conv(x, w) * k + (offset - mean * k)`` with ``k = scale / sqrt(variance +
epsilon)`` for each filter, and ``conv(x, w) * k = conv(x, w * k)``. Both are exact but for rounding
(computed in float64 and rounded once). TensorFlow runs a bias as part of the convolution, and
behind a bias the residual sum and the activation as well, which it does not behind a batch norm
(grappler/optimizers/remapper.cc).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from graphrev.analysis.ops import is_constant
from graphrev.ir import DType, Graph, Node, TensorRef
from graphrev.ir.marks import is_opted_out
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.removal import Removal, own_parameter
from graphrev.pipeline import Code, Rejection

_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


Values: TypeAlias = Callable[[str], "Array | None"]


@dataclass(frozen=True, slots=True)
class FoldedNorm:
    """The batch norm ``node`` becomes a ``BiasAdd`` of ``bias``; ``kernel`` becomes ``scaled``."""

    node: str
    kernel: str
    scaled: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution: its kernel, and the shape that a vector of filters has along the kernel."""

    node: str
    kernel: TensorRef
    axis: int
    along: tuple[int, ...]


@dataclass(frozen=True)
class Norms:
    """Finds the batch norms that can be folded once channels are gone.

    Attributes:
        values: the value of a constant as it is when its channels are gone.
        named: nodes that are fed or fetched by name.
        biased: products that a bias is put behind.
    """

    removal: Removal
    values: Values
    named: frozenset[str]
    biased: frozenset[str]

    def find(self) -> Iterator[FoldedNorm | Rejection]:
        """One for each batch norm of an inference graph that follows a convolution."""
        graph, layers = self.removal.channels.graph, dict(_layers(self.removal))
        for name, node in graph.nodes.items():
            if node.op not in _NORMS or node.attrs.get("is_training", True) is not False:
                continue
            layer = layers.get(node.inputs[0].node)
            if layer is None:
                continue
            found = self._obstacle(node, layer) or self._folded(node, layer)
            if isinstance(found, str):
                reason = f"Batch norm '{name}' is not folded into '{layer.node}': {found}."
                found = Rejection(Code.NORM_KEPT, reason, (name, layer.node))
            yield found

    def _obstacle(self, norm: Node, layer: _Layer) -> str | None:
        graph, results = self.removal.channels.graph, self.removal.channels.results
        product = graph[layer.node]
        if is_opted_out(norm) or is_opted_out(product):
            return "one of them was built under no_rewrite()"
        if layer.node in results or self.named & {norm.name, layer.node}:
            return "one of them is fed or fetched"
        if graph.readers[layer.node] != (norm.name,):
            return "something else reads the convolution"
        if any(ref.node == norm.name and ref.index for ref in _read(graph, norm.name)):
            return "its statistics are read"
        if {product.attrs.get("T"), norm.attrs.get("T")} != {DType.FLOAT}:
            return "they are not float32"
        if _channels_axis(norm) != layer.axis:
            return "they do not agree on the axis of channels"
        if layer.node in self.biased:
            return "its mean is shared, so a bias goes between them"
        return None

    def _folded(self, norm: Node, layer: _Layer) -> FoldedNorm | str:
        channels = self.removal.channels
        kernel = own_parameter(channels, layer.kernel, layer.node)
        if kernel is None or kernel != self._constant(layer.kernel):
            return "its kernel is no constant of its own"
        weights, epsilon = self.values(kernel), norm.attrs.get("epsilon", 1e-4)
        found = [self._vector(ref) for ref in norm.inputs[1:5]]
        vectors = [vector.astype(np.float64) for vector in found if vector is not None]
        if weights is None or len(vectors) < 4 or not isinstance(epsilon, float):
            return "its parameters are not constants"
        along = tuple(weights.shape[axis] if axis >= 0 else 1 for axis in layer.along)
        scale, offset, mean, variance = vectors
        if {len(vector) for vector in vectors} != {int(np.prod(along))}:
            return "its parameters are not of the convolution's size"
        with np.errstate(all="ignore"):
            rate = scale / np.sqrt(variance + epsilon)
            scaled = (weights.astype(np.float64) * rate.reshape(along)).astype(np.float32)
            bias = (offset - mean * rate).astype(np.float32)
        if not (np.isfinite(scaled).all() and np.isfinite(bias).all()):
            return "the weights would not be finite"
        return FoldedNorm(norm.name, kernel, scaled, bias)

    def _vector(self, ref: TensorRef) -> Array | None:
        name = self._constant(ref)
        value = None if name is None else self.values(name)
        return value if value is not None and value.ndim == 1 else None

    def _constant(self, ref: TensorRef) -> str | None:
        """The constant that ``ref`` is, seen through identities that are not fed."""
        graph, name = self.removal.channels.graph, ref.node
        while graph[name].op == "Identity" and name not in self.named:
            name = graph[name].inputs[0].node
        return name if is_constant(graph[name].op) and name not in self.named else None


def _layers(removal: Removal) -> Iterator[tuple[str, _Layer]]:
    channels = removal.channels
    for one in channels.products:
        dims = channels.shapes.dims(one.kernel)
        if dims is not None and channels.graph[one.node].op != "MatMul":
            along = tuple(axis if axis == one.out_axis else -1 for axis in range(len(dims)))
            yield one.node, _Layer(one.node, one.kernel, one.axis, along)
    for deep in channels.depthwise:
        yield deep.node, _Layer(deep.node, deep.kernel, deep.data_axis, (-1, -1, 2, 3))


def _channels_axis(norm: Node) -> int:
    data_format = norm.attrs.get("data_format")
    if isinstance(data_format, bytes) and data_format.startswith(b"NC"):
        return 1
    return 4 if data_format == b"NDHWC" else 3


def _read(graph: Graph, name: str) -> Iterator[TensorRef]:
    for reader in graph.readers.get(name, ()):
        yield from graph[reader].inputs
