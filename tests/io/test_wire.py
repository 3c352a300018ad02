"""The wire format: what is split is put together again; what is no message is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrev.io import decode_graph, wire

FIELDS = st.one_of(
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.VARINT), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.BYTES), st.binary(max_size=300)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.FIXED32), st.binary(min_size=4, max_size=4)),
    st.tuples(st.integers(1, 2**29 - 1), st.just(wire.FIXED64), st.binary(min_size=8, max_size=8)),
)


@given(st.lists(FIELDS, max_size=6))
def test_fields_come_back_in_order(fields: list[wire.Field]) -> None:
    assert list(wire.fields(wire.encode(fields))) == fields


@given(st.lists(FIELDS, min_size=1, max_size=3), st.data())
def test_a_message_cut_inside_its_last_field_is_refused(
    fields: list[wire.Field], data: st.DataObject
) -> None:
    whole = wire.encode(fields)
    start = len(wire.encode(fields[:-1]))
    cut = data.draw(st.integers(start + 1, len(whole) - 1)) if len(whole) > start + 1 else None
    if cut is not None:
        with pytest.raises(wire.WireError):
            list(wire.fields(whole[:cut]))


@given(st.binary(max_size=80))
def test_random_bytes_split_exactly_or_are_refused(data: bytes) -> None:
    try:
        fields = list(wire.fields(data))
    except wire.WireError:
        return
    assert list(wire.fields(wire.encode(fields))) == fields


@given(st.integers(-(2**63), 2**63 - 1))
def test_negative_numbers_are_two_complement(value: int) -> None:
    ((_, kind, read),) = wire.fields(wire.number_field(1, value))
    assert (kind, wire.signed(read)) == (wire.VARINT, value)


@pytest.mark.parametrize("data", [b"\x00", b"\x0b", b"\x0e", b"\x08", b"\x80" * 11, b"\x0d\0\0\0"])
def test_what_is_no_field_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        list(wire.fields(data))


def test_a_value_of_the_wrong_type_is_refused() -> None:
    for call in (wire.chunk, wire.text, wire.floats):
        with pytest.raises(wire.WireError):
            call(1)
    for wrong in (b"\xff", b"abc"):
        with pytest.raises(wire.WireError):
            wire.signed(wrong)
    with pytest.raises(wire.WireError):
        wire.text(b"\xff")
    with pytest.raises(wire.WireError):
        wire.floats(b"abc")
    with pytest.raises(wire.WireError):
        list(wire.packed(wire.BYTES, b"\x80"))


@pytest.mark.parametrize("after", [b"", b"\x1a\x00", b"\x1a\x01^"])
def test_an_input_of_no_letters_is_refused_wherever_the_node_ends(after: bytes) -> None:
    """The last field of the file, too: there is no letter left to look at."""
    node = b"\x0a\x01n" + b"\x12\x04NoOp" + b"\x1a\x00" + after
    with pytest.raises(wire.WireError, match="without a name"):
        decode_graph(b"\x0a" + bytes([len(node)]) + node)
