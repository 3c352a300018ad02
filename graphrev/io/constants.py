"""Makes constants: TensorProto bytes (core/framework/tensor.proto) from plain Python values."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphrev.io import wire
from graphrev.io.attr_values import encode_shape
from graphrev.io.tensors import UnreadableConstantError, to_numpy
from graphrev.ir import DType, Shape, TensorValue

_DTYPE, _SHAPE, _CONTENT, _STRING = 1, 2, 4, 8
_HALF_VAL = 13
_PACKED = {
    DType.FLOAT: (5, "<f"),
    DType.DOUBLE: (6, "<d"),
    DType.INT32: (7, "<i"),
    DType.INT64: (10, "<q"),
    DType.BOOL: (11, "<?"),
}
"""Field of the typed value list, and how one element is packed in ``tensor_content``."""


def splat(dtype: DType, value: float, dims: Iterable[int] = ()) -> TensorValue:
    """A constant whose elements are all ``value``; one element is stored, however large it is.

    Raises:
        ValueError: ``dtype`` is none of float16, bfloat16, float32, float64, int32, int64, bool.
    """
    shape = Shape(tuple(dims))
    head = wire.number_field(_DTYPE, dtype) + wire.bytes_field(_SHAPE, encode_shape(shape))
    return TensorValue(dtype, shape, head + _element(dtype, value))


def _element(dtype: DType, value: float) -> bytes:
    if dtype in (DType.HALF, DType.BFLOAT16):
        return wire.bytes_field(_HALF_VAL, wire.encode_varint(_half_bits(dtype, value)))
    if dtype not in _PACKED:
        raise ValueError(f"no constant of type {dtype.name} can be made")
    field, form = _PACKED[dtype]
    if form in ("<f", "<d"):
        return wire.bytes_field(field, struct.pack(form, value))
    return wire.bytes_field(field, wire.encode_varint(int(value) & (2**64 - 1)))


def _half_bits(dtype: DType, value: float) -> int:
    if dtype is DType.HALF:
        return int.from_bytes(struct.pack("<e", value), "little")
    return int.from_bytes(struct.pack("<f", value)[2:], "little")


def vector(dtype: DType, values: Iterable[float]) -> TensorValue:
    """A one-dimensional int32, int64, float32, float64 or bool constant."""
    items = tuple(values)
    _, form = _PACKED[dtype]
    content = b"".join(
        struct.pack(form, item if form in ("<f", "<d") else int(item)) for item in items
    )
    return _content(dtype, Shape((len(items),)), content)


def _content(dtype: DType, shape: Shape, content: bytes) -> TensorValue:
    head = wire.number_field(_DTYPE, dtype) + wire.bytes_field(_SHAPE, encode_shape(shape))
    return TensorValue(dtype, shape, head + wire.bytes_field(_CONTENT, content))


def from_array(dtype: DType, array: np.ndarray[Any, Any]) -> TensorValue:
    """A constant of an array's elements, which are of ``dtype`` as numpy knows it."""
    return _content(dtype, Shape(array.shape), np.ascontiguousarray(array).tobytes())


def strings(values: Iterable[bytes]) -> TensorValue:
    """A one-dimensional string constant."""
    items = tuple(values)
    shape = Shape((len(items),))
    head = wire.number_field(_DTYPE, DType.STRING) + wire.bytes_field(_SHAPE, encode_shape(shape))
    body = b"".join(wire.bytes_field(_STRING, item) for item in items)
    return TensorValue(DType.STRING, shape, head + body)


def string(value: bytes) -> TensorValue:
    """A string scalar."""
    head = wire.number_field(_DTYPE, DType.STRING) + wire.bytes_field(
        _SHAPE, encode_shape(Shape(()))
    )
    return TensorValue(DType.STRING, Shape(()), head + wire.bytes_field(_STRING, value))


def string_values(value: TensorValue) -> tuple[bytes, ...]:
    """The elements of a string constant; a single stored element stands for all of them."""
    found = [wire.chunk(v) for number, _, v in wire.fields(value.raw) if number == _STRING]
    dims = value.shape.dims or ()
    count = 1
    for dim in dims:
        count *= dim or 0
    if found and len(found) < count:
        found.extend([found[-1]] * (count - len(found)))
    return tuple(found)


def truncated(value: TensorValue, count: int) -> TensorValue:
    """The first ``count`` elements of a one-dimensional string constant."""
    return strings(string_values(value)[:count])


def is_mask(value: TensorValue) -> bool:
    """Whether a floating-point constant holds zeros and ones only, and can be read."""
    try:
        array = to_numpy(value)
    except UnreadableConstantError:
        return False
    return bool(((array == 0) | (array == 1)).all())


def product(left: TensorValue, right: TensorValue) -> TensorValue:
    """The elementwise product of two constants of one shape and type, as the op ``Mul`` gives.

    Raises:
        ValueError: shapes or types differ.
    """
    if left.shape != right.shape or left.dtype is not right.dtype:
        raise ValueError("constants of two shapes or types cannot be multiplied element by element")
    return _content(left.dtype, left.shape, (to_numpy(left) * to_numpy(right)).tobytes())
