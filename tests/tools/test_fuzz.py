"""A short seeded run of the fuzzer; ``python -m tools.fuzz`` is the long one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from graphrev.errors import InvalidInputError
from tools.fuzz.__main__ import HANG, fuzz
from tools.fuzz.entries import Entry, entries


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_nothing_but_a_graphrev_error_comes_out(entry: Entry) -> None:
    tally = fuzz(entry, range(60))
    assert not tally.crashes, tally.crashes[0].trace
    assert tally.accepted + tally.refused == 60
    assert tally.slowest < HANG


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_a_number_names_an_input(entry: Entry) -> None:
    assert entry.make(random.Random("x/7")) == entry.make(random.Random("x/7"))
    assert len({entry.make(random.Random(f"x/{number}")) for number in range(20)}) > 10


def _raises(error: Exception) -> Callable[[bytes, random.Random], None]:
    def run(data: bytes, rng: random.Random) -> None:
        raise error

    return run


def test_only_other_errors_are_crashes() -> None:
    refusing = Entry("refusing", lambda rng: b"", _raises(InvalidInputError("no")))
    crashing = Entry("crashing", lambda rng: b"x", _raises(KeyError("no")))
    assert fuzz(refusing, range(3)).refused == 3
    (crash,) = fuzz(crashing, range(5, 6)).crashes
    assert (crash.number, crash.data) == (5, b"x")
    assert crash.where.startswith("KeyError at test_fuzz.py:")
