from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrev.ir import Node
from graphrev.ir.marks import (
    NO_REWRITE_ATTR,
    PAIR_ATTR,
    ROLES,
    PairMark,
    is_opted_out,
    pair_marks,
    without_marks,
)


def node(**attrs: Any) -> Node:
    return Node("a", "Add", attrs=MappingProxyType(attrs), raw=b"read")


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(ROLES), st.integers(0, 999_999_999))
def test_mark_that_names_a_tensor_reads_back(name: str, role: str, index: int) -> None:
    mark = PairMark(name, role, index)
    assert PairMark.decode(mark.encode()) == mark


@pytest.mark.parametrize(
    ("stored", "mark"),
    [
        (b"block", PairMark("block")),
        (b"block|x1|0", PairMark("block", "x1", 0)),
        (b"a|b|y2|12", PairMark("a|b", "y2", 12)),
        (b"block|x3|0", PairMark("block|x3|0")),
        (b"block|x1|-1", PairMark("block|x1|-1")),
        (b"block|x1|", PairMark("block|x1|")),
        ("block|x1|\u0663".encode(), PairMark("block|x1|\u0663")),
        (b"block|x1|9999999999", PairMark("block|x1|9999999999")),
        (b"x1|0", PairMark("x1|0")),
        (b"", PairMark("")),
        (b"\xff", PairMark("\ufffd")),
    ],
)
def test_what_is_no_role_belongs_to_the_id(stored: bytes, mark: PairMark) -> None:
    assert PairMark.decode(stored) == mark


def test_marks_of_a_node_come_in_the_order_they_were_made() -> None:
    marked = node(**{PAIR_ATTR: (b"b", b"a|x1|1", 3, b"b")})
    assert pair_marks(marked) == (PairMark("b"), PairMark("a", "x1", 1), PairMark("b"))
    assert pair_marks(node(**{PAIR_ATTR: b"one"})) == (PairMark("one"),)
    assert pair_marks(node()) == ()


@pytest.mark.parametrize(
    ("value", "out"), [(True, True), (False, False), (1, False), (b"1", False)]
)
def test_only_true_opts_out(value: Any, out: bool) -> None:
    assert is_opted_out(node(**{NO_REWRITE_ATTR: value})) is out


def test_copy_loses_the_marks_and_nothing_else() -> None:
    marked = node(**{PAIR_ATTR: (b"p",), NO_REWRITE_ATTR: True, "T": 1, "_other": b"kept"})
    assert dict(without_marks(marked).attrs) == {"T": 1, "_other": b"kept"}
    assert pair_marks(marked)
    plain = node(T=1)
    assert without_marks(plain) is plain
