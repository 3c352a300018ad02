"""The value an op puts out, by the values it reads (see :mod:`graphrev.passes.shrink.values`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from graphrev.ir import DType, Node, TensorRef
from graphrev.passes.shrink.arithmetic import FUNCTIONS, OPERATORS, Array
from graphrev.passes.shrink.known import Constants, vector_along

Rule: TypeAlias = Callable[[Constants, Node], "Array | None"]


def _unary(constants: Constants, node: Node) -> Array | None:
    value = constants.of(node.inputs[0])
    if value is None:
        return None
    if node.op == "Cast" and not _is_floating(node.attrs.get("DstT")):
        return None
    if node.op == "LeakyRelu":
        alpha = node.attrs.get("alpha", 0.2)
        return np.where(value > 0, value, value * (alpha if isinstance(alpha, float) else np.nan))
    return FUNCTIONS[node.op](value)


def _is_floating(dtype: object) -> bool:
    return isinstance(dtype, DType) and dtype.is_floating


def _binary(constants: Constants, node: Node) -> Array | None:
    values = [constants.of(ref) for ref in node.inputs]
    known = [value for value in values if value is not None]
    if not known or (len(known) < len(values) and node.op != "Mul"):
        return None
    if len(known) < len(values):
        return np.where(known[0] == 0, 0.0, np.nan)
    result = known[0]
    for value in known[1:]:
        result = OPERATORS[node.op](result, value)
    return result


def _channel_vector(constants: Constants, node: Node, ref: TensorRef, rank: int) -> Array | None:
    value = constants.of(ref)
    data_format = node.attrs.get("data_format")
    is_first = isinstance(data_format, bytes) and data_format.startswith(b"NC")
    return None if value is None else vector_along(value, 1 if is_first else rank - 1, rank)


def _bias(constants: Constants, node: Node) -> Array | None:
    value = constants.of(node.inputs[0])
    if value is None:
        return None
    bias = _channel_vector(constants, node, node.inputs[1], value.ndim)
    return None if bias is None else value + bias


def _norm(constants: Constants, node: Node) -> Array | None:
    value = constants.of(node.inputs[0])
    if value is None or node.attrs.get("is_training", True) is not False:
        return None
    parts = [_channel_vector(constants, node, ref, 4) for ref in node.inputs[1:5]]
    known = [part for part in parts if part is not None]
    epsilon = node.attrs.get("epsilon", 1e-4)
    if len(known) < 4 or not isinstance(epsilon, float):
        return None
    scale, offset, mean, variance = known
    return (value - mean) * (scale / np.sqrt(variance + epsilon)) + offset


def _same(constants: Constants, node: Node) -> Array | None:
    return constants.of(node.inputs[0])


def _pad(constants: Constants, node: Node) -> Array | None:
    """Zeros all around: what reads the tensor has to know of the border."""
    ref = node.inputs[0]
    value = constants.found.get(ref)
    if value is not None and ref not in constants.channels.fixed:
        constants.bordered.add(TensorRef(node.name))
        return value
    return None


def _reduce(constants: Constants, node: Node) -> Array | None:
    """Over axes that are not followed, all of whose elements are alike."""
    value = constants.of(node.inputs[0])
    if value is None:
        return None
    over = tuple(a % value.ndim for a in constants.numbers(node.inputs[1]))
    keep = node.attrs.get("keep_dims") is True
    if any(value.shape[axis] != 1 for axis in over):
        return None
    if node.op in ("Sum", "Prod"):
        value = np.where(value == 0, 0.0, np.nan)
    return value if keep else value.reshape([s for a, s in enumerate(value.shape) if a not in over])


def _squeeze(constants: Constants, node: Node) -> Array | None:
    value, listed = constants.of(node.inputs[0]), node.attrs.get("squeeze_dims")
    if value is None or not isinstance(listed, tuple):
        return None
    gone = {item % value.ndim for item in listed if isinstance(item, int)}
    return value.reshape([size for axis, size in enumerate(value.shape) if axis not in gone])


def _expand(constants: Constants, node: Node) -> Array | None:
    value, at = constants.of(node.inputs[0]), constants.numbers(node.inputs[1])
    return None if value is None or not at else np.expand_dims(value, at[0])


def _transpose(constants: Constants, node: Node) -> Array | None:
    value, order = constants.of(node.inputs[0]), constants.numbers(node.inputs[1])
    return None if value is None or len(order) != value.ndim else value.transpose(order)


def _reshape(constants: Constants, node: Node) -> Array | None:
    value, ref = constants.of(node.inputs[0]), TensorRef(node.name)
    dims = constants.channels.shapes.dims(ref)
    if value is None or dims is None:
        return None
    if ref in constants.channels.fixed:
        sizes = [dim for dim in dims if isinstance(dim, int)]
        return value.reshape(sizes) if len(sizes) == len(dims) else None
    found = constants.channels.regroupings.get(node.name)
    if found is None or any(s != 1 for a, s in enumerate(value.shape) if a != found.old):
        return None
    vector = value.reshape(-1)
    if len(vector) == 1:
        return np.full([1] * len(dims), vector[0])
    taken = vector[found.index].copy()
    if found.copies is not None:
        taken[found.copies[vector != taken[found.copies]]] = np.nan
    return vector_along(taken, found.new, len(dims))


def _concat(constants: Constants, node: Node) -> Array | None:
    place = 0 if node.op == "Concat" else len(node.inputs) - 1
    refs = [ref for position, ref in enumerate(node.inputs) if position != place]
    at, shapes = constants.numbers(node.inputs[place]), constants.channels.shapes
    dims = [shapes.dims(ref) for ref in refs]
    known = [d for d in dims if d is not None]
    if not at or len(known) < len(refs):
        return None
    axis = at[0] % len(known[0])
    parts: list[Array] = []
    for ref, shape in zip(refs, known):
        size, value = shape[axis], constants.of(ref)
        if not isinstance(size, int):
            return None
        if value is None:
            value = np.full([1] * len(shape), np.nan)
        full = [size if a == axis else s for a, s in enumerate(value.shape)]
        parts.append(np.broadcast_to(value, full))
    shape = np.broadcast_shapes(
        *([1 if a == axis else s for a, s in enumerate(p.shape)] for p in parts)
    )
    wide = [
        np.broadcast_to(p, [p.shape[a] if a == axis else s for a, s in enumerate(shape)])
        for p in parts
    ]
    return np.concatenate(wide, axis)


RULES: Mapping[str, Rule] = {
    **{op: _unary for op in (*FUNCTIONS, "LeakyRelu")},
    **{op: _binary for op in OPERATORS},
    **{
        op: _same
        for op in "ReadVariableOp MaxPool AvgPool MaxPool3D AvgPool3D MirrorPad "
        "ResizeBilinear ResizeNearestNeighbor ResizeBicubic ResizeArea BatchToSpaceND".split()
    },
    **{op: _norm for op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")},
    **{op: _reduce for op in ("Mean", "Max", "Min", "Sum", "Prod")},
    **{op: _pad for op in ("Pad", "SpaceToBatchND")},
    "BiasAdd": _bias,
    "Concat": _concat,
    "ConcatV2": _concat,
    "ExpandDims": _expand,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}
