"""Constants that are opened, and constants that cannot be."""

from __future__ import annotations

import pytest

from graphrev.io.constants import vector
from graphrev.io.tensors import integers, to_numpy
from graphrev.ir import DType, Shape, TensorValue

DAMAGED = TensorValue(DType.INT32, Shape((1,)), b"\x22\xff\xff")


def test_the_elements_of_a_vector_are_read() -> None:
    value = vector(DType.INT64, (3, -1))
    assert integers(value) == (3, -1)
    assert to_numpy(value).tolist() == [3, -1]


def test_a_damaged_constant_has_no_known_elements() -> None:
    assert integers(DAMAGED) is None
    with pytest.raises(ValueError, match="no TensorProto"):
        to_numpy(DAMAGED)
