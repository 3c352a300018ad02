"""Attribute values: read and written again they mean the same to protobuf."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrev.io import wire
from graphrev.io.attr_values import decode_attr, encode_attr
from graphrev.io.protos import light
from graphrev.ir import AttrPlaceholder, DType, FunctionRef, OpaqueAttr, Shape, TensorValue
from tests.io.samples import nested_function

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)
DTYPES = st.integers(0, 200).map(DType)
SHAPES = st.one_of(
    st.just(Shape(None)),
    st.lists(st.none() | st.integers(0, 2**40), max_size=4).map(lambda dims: Shape(tuple(dims))),
)
SCALARS = [st.binary(max_size=8), INT64, FLOAT32, st.booleans(), DTYPES, SHAPES]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
LISTS = st.one_of([st.lists(kind, min_size=1, max_size=5).map(tuple) for kind in SCALARS])
PLAIN = st.one_of(*SCALARS, LISTS, NAMES.map(AttrPlaceholder))
FUNCTIONS = st.builds(
    FunctionRef,
    NAMES,
    st.lists(st.tuples(NAMES, PLAIN), max_size=3, unique_by=lambda entry: entry[0]).map(tuple),
)


def message(data: bytes) -> Any:
    return light("attr_value_pb2").AttrValue.FromString(data)


def same(first: object, second: object) -> bool:
    """Equality under which NaN equals itself and True differs from 1."""
    return type(first) is type(second) and repr(first) == repr(second)


@given(PLAIN | FUNCTIONS)
def test_values_survive_being_written_and_read(value: Any) -> None:
    assert same(decode_attr(encode_attr(value)), value)


@given(PLAIN | FUNCTIONS)
def test_written_values_are_what_protobuf_writes(value: Any) -> None:
    data = encode_attr(value)
    parsed = message(data)
    # A field that proto3 leaves out when it is zero is written here; the meaning is the same.
    assert message(parsed.SerializeToString()).SerializeToString(
        deterministic=True
    ) == parsed.SerializeToString(deterministic=True)
    assert parsed.WhichOneof("value") is not None


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_kept(data: bytes) -> None:
    try:
        value = decode_attr(data)
    except wire.WireError:
        return
    decode_attr(encode_attr(value))


@pytest.mark.parametrize(
    "build",
    [
        lambda a: a.shape.dim.add(size=2, name="batch"),
        lambda a: (a.list.i.append(1), a.list.s.append(b"x")),
        lambda a: a.SetInParent(),
        lambda a: a.list.SetInParent(),
        lambda a: (a.list.func.add(name="f"), a.list.func.add(name="g")),
        lambda a: setattr(a.tensor, "dtype", 1),
        lambda a: a.list.tensor.add(dtype=3),
        lambda a: a.list.shape.add(unknown_rank=True),
        lambda a: setattr(a.shape, "unknown_rank", True),
        lambda a: a.func.attr["T"].list.type.extend([1, 2]),
    ],
)
def test_rare_forms_keep_their_meaning(build: Any) -> None:
    attr = light("attr_value_pb2").AttrValue()
    build(attr)
    data = attr.SerializeToString()
    assert message(encode_attr(decode_attr(data))) == attr


def test_what_has_no_plain_form_is_kept_as_its_bytes() -> None:
    future = wire.bytes_field(55, b"future")
    assert decode_attr(future) == OpaqueAttr(future)
    assert encode_attr(OpaqueAttr(future)) == future


def test_a_tensor_keeps_its_bytes() -> None:
    tensor = light("tensor_pb2").TensorProto(dtype=1, tensor_content=struct.pack("<2f", 1, 2))
    tensor.tensor_shape.dim.add(size=2)
    raw = tensor.SerializeToString()
    value = decode_attr(wire.bytes_field(8, raw))
    assert value == TensorValue(DType.FLOAT, Shape((2,)), raw)


@pytest.mark.parametrize("levels", [1, 2, 100])
def test_nested_functions_are_read_up_to_the_limit(levels: int) -> None:
    data = nested_function(levels)
    assert encode_attr(decode_attr(data)) == data


@pytest.mark.parametrize("levels", [101, 300, 10_000])
def test_functions_nested_deeper_are_refused(levels: int) -> None:
    with pytest.raises(wire.WireError, match="more than 100 levels"):
        decode_attr(nested_function(levels))
    function = next(wire.chunk(value) for _, _, value in wire.fields(nested_function(levels)))
    with pytest.raises(wire.WireError, match="more than 100 levels"):
        decode_attr(wire.bytes_field(1, wire.bytes_field(9, function)))
