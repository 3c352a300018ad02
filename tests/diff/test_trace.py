"""A trace of a step is read as the memory it took; anything else is refused in one sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from graphrev.diff.trace import read_trace
from graphrev.errors import InvalidInputError, UsageError
from graphrev.io import wire
from tests.diff.graphs import compared


def _record(time: int, size: int) -> bytes:
    return wire.bytes_field(6, wire.number_field(1, time) + wire.number_field(2, size))


def _memory(allocator: str, *records: tuple[int, int]) -> bytes:
    return wire.bytes_field(
        6, wire.text_field(1, allocator) + b"".join(_record(*record) for record in records)
    )


def _metadata(*nodes: bytes) -> bytes:
    device = b"".join(wire.bytes_field(2, wire.text_field(1, "n") + node) for node in nodes)
    return wire.bytes_field(1, wire.bytes_field(1, wire.text_field(1, "cpu") + device))


def _write(folder: Path, data: bytes, name: str = "step.pb") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def test_records_are_added_up_in_order_of_time(tmp_path: Path) -> None:
    data = _metadata(
        _memory("cpu", (1000, 100), (1050, -100)), _memory("cpu", (1010, 40), (1020, 60))
    )
    found = read_trace(_write(tmp_path, data))
    assert found.timeline == ((0, 100), (10, 140), (20, 200), (50, 100))
    assert (found.peak_bytes, found.nodes, found.allocator) == (200, 2, "cpu")


def test_the_allocator_with_the_highest_peak_is_shown(tmp_path: Path) -> None:
    data = _metadata(_memory("cpu", (1, 10)), _memory("GPU_0_bfc", (1, 500), (2, -500)))
    file = _write(tmp_path, gzip.compress(data), "step.pb.gz")
    assert (read_trace(file).allocator, read_trace(file).peak_bytes) == ("GPU_0_bfc", 500)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no allocations"),
        (_metadata(b""), "FULL_TRACE"),
        (b"\xff\xff\xff", "no trace"),
        (wire.bytes_field(1, b"\xff\xff"), "no trace"),
        (wire.number_field(1, 3), "no trace"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_trace(_write(tmp_path, data))


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trace"):
        read_trace(tmp_path / "none.pb")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_trace(_write(tmp_path, b"not gzip", "bad.gz"))


def test_measured_memory_is_shown_everywhere(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>\x1b[31m"
    before = _write(tmp_path, _metadata(_memory(hostile, (5, 3_000_000))), "a.pb")
    after = _write(tmp_path, _metadata(_memory("cpu", (5, 1_000_000), (9, -1_000_000))), "b.pb")
    found = compared().with_traces(before, after)
    assert "measured peak of a step: 3 MB -> 1 MB" in found.to_text()
    assert found.to_json()["before"]["measured_peak_bytes"] == 3_000_000
    page = found.to_html()
    assert "Memory of a step (measured)" in page and "<script>alert" not in page
    assert "\x1b" not in page
    one = compared().with_traces(after=after)
    assert "measured peak of a step: ? -> 1 MB" in one.to_text()
    assert "(measured)" not in compared().to_html()
