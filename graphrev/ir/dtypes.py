"""Element types, numbered as TensorFlow's ``DataType`` (core/framework/types.proto)."""

from __future__ import annotations

from enum import IntEnum

REF_OFFSET = 100
"""A reference type is its base type's number plus this (types.proto, "DT_FLOAT_REF = 101")."""


class DType(IntEnum):
    """An element type; reference types are separate members (``FLOAT_REF``).

    A number newer than this table becomes an ``UNKNOWN_n`` member, so that a graph from a later
    TensorFlow can still be read and written back.
    """

    INVALID = 0
    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    QINT8 = 11
    QUINT8 = 12
    QINT32 = 13
    BFLOAT16 = 14
    QINT16 = 15
    QUINT16 = 16
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    RESOURCE = 20
    VARIANT = 21
    UINT32 = 22
    UINT64 = 23
    FLOAT8_E5M2 = 24
    FLOAT8_E4M3FN = 25
    FLOAT8_E4M3FNUZ = 26
    FLOAT8_E4M3B11FNUZ = 27
    FLOAT8_E5M2FNUZ = 28
    INT4 = 29
    UINT4 = 30
    INT2 = 31
    UINT2 = 32
    FLOAT4_E2M1FN = 33

    @classmethod
    def _missing_(cls, value: object) -> DType | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        base = cls._value2member_map_.get(value - REF_OFFSET)
        member._name_ = f"{base.name}_REF" if isinstance(base, cls) else f"UNKNOWN_{value}"
        member._value_ = value
        cls._value2member_map_[value] = member
        return member

    @property
    def is_ref(self) -> bool:
        """Whether a tensor of this type is a reference to a variable's buffer."""
        return self > REF_OFFSET

    @property
    def base(self) -> DType:
        """The type without its reference."""
        return DType(self - REF_OFFSET) if self > REF_OFFSET else self

    @property
    def is_floating(self) -> bool:
        """Whether this is a real floating-point type (references included)."""
        return self.base in _FLOATING

    @property
    def is_complex(self) -> bool:
        """Whether this is a complex type (references included)."""
        return self.base in (DType.COMPLEX64, DType.COMPLEX128)

    @property
    def byte_size(self) -> int | None:
        """Bytes per element; ``None`` where an element has no fixed size (strings, handles)."""
        return _BYTES.get(self.base)

    @property
    def epsilon(self) -> float | None:
        """Distance from 1 to the next number, for floating types; ``None`` for the others."""
        return _EPSILON.get(self.base)


_FLOATING = frozenset({DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16})
_EPSILON = {
    DType.FLOAT: 2.0**-23,
    DType.DOUBLE: 2.0**-52,
    DType.HALF: 2.0**-10,
    DType.BFLOAT16: 2.0**-7,
}
_BYTES = {
    DType.FLOAT: 4,
    DType.DOUBLE: 8,
    DType.INT32: 4,
    DType.UINT8: 1,
    DType.INT16: 2,
    DType.INT8: 1,
    DType.COMPLEX64: 8,
    DType.INT64: 8,
    DType.BOOL: 1,
    DType.QINT8: 1,
    DType.QUINT8: 1,
    DType.QINT32: 4,
    DType.BFLOAT16: 2,
    DType.QINT16: 2,
    DType.QUINT16: 2,
    DType.UINT16: 2,
    DType.COMPLEX128: 16,
    DType.HALF: 2,
    DType.UINT32: 4,
    DType.UINT64: 8,
}
