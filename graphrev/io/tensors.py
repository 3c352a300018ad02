"""Opens constants: the TensorProto bytes that :class:`~graphrev.ir.TensorValue` carries."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

from graphrev.errors import InvalidInputError, printable
from graphrev.io.protos import light
from graphrev.ir import DType, TensorValue

if TYPE_CHECKING:
    import numpy as np

_FORMATS = {DType.INT32: "i", DType.INT64: "q"}


class UnreadableConstantError(InvalidInputError, ValueError):
    """A constant's content does not fit its shape or type."""


def integers(value: TensorValue, limit: int = 64) -> tuple[int, ...] | None:
    """The elements of an int32 or int64 constant, flattened.

    ``None`` for other types, for more than ``limit`` elements and for what cannot be read.
    """
    form = _FORMATS.get(value.dtype)
    dims = value.shape.dims
    if form is None or dims is None or None in dims:
        return None
    count = math.prod(dim for dim in dims if dim is not None)
    if not 0 <= count <= limit:
        return None
    try:
        proto = _proto(value)
    except ValueError:
        return None
    if proto.tensor_content:
        if len(proto.tensor_content) != count * struct.calcsize(form):
            return None
        return struct.unpack(f"<{count}{form}", proto.tensor_content)
    listed = list(proto.int_val if value.dtype is DType.INT32 else proto.int64_val)
    last = listed[-1] if listed else 0
    return tuple((listed + [last] * (count - len(listed)))[:count])


def to_numpy(value: TensorValue) -> np.ndarray[Any, Any]:
    """The constant as an array.

    Raises:
        UnreadableConstantError: its content does not fit its shape or type.
    """
    from tensorboard.util import tensor_util

    try:
        return tensor_util.make_ndarray(_proto(value))
    except (TypeError, ValueError) as error:
        raise UnreadableConstantError(
            f"A constant of type {value.dtype.name.lower()} and shape {value.shape.dims} does not "
            f"hold what it says: {printable(str(error), 200)}. Export the graph again."
        ) from None


def _proto(value: TensorValue) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return light("tensor_pb2").TensorProto.FromString(value.raw)
    except DecodeError:
        raise ValueError("a constant that is no TensorProto") from None
