"""The memory a step really took, from a trace that TensorFlow wrote of it.

A ``RunMetadata`` (core/protobuf/config.proto) of a step run with ``trace_level=FULL_TRACE`` holds,
for every op and allocator, when bytes were taken and given back (step_stats.proto,
``AllocationRecord``). Added up in order of time they are the bytes alive.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from graphrev.errors import InvalidInputError, UsageError, printable
from graphrev.io import wire

_STEP_STATS, _DEVICES, _NODES, _MEMORY, _ALLOCATOR, _RECORDS = 1, 1, 2, 6, 1, 6
_LARGEST = 1 << 30


@dataclass(frozen=True)
class Measured:
    """Memory of one step as it was traced.

    Attributes:
        allocator: whose memory it is; of several the one with the highest peak.
        timeline: ``(microseconds since the first record, bytes alive)`` after each moment at which
            that changed.
        nodes: how many ops the trace tells of.
    """

    allocator: str
    timeline: tuple[tuple[int, int], ...]
    nodes: int

    @property
    def peak_bytes(self) -> int:
        """The most bytes alive at once, counted from the start of the step."""
        return max((size for _, size in self.timeline), default=0)


def read_trace(path: str | Path) -> Measured:
    """Reads a serialized ``RunMetadata``.

    Args:
        path: the file; ``.gz`` behind its name is opened.

    Raises:
        UsageError: there is no such file.
        InvalidInputError: it is no RunMetadata, or holds no allocations.
    """
    file = Path(path)
    shown = printable(str(path))
    try:
        with gzip.open(file) if file.suffix == ".gz" else open(file, "rb") as content:
            data = content.read(_LARGEST)
    except FileNotFoundError:
        raise UsageError(f"There is no trace '{shown}'.") from None
    except (OSError, EOFError) as error:
        raise InvalidInputError(f"The trace '{shown}' cannot be read: {error}.") from None
    try:
        return measured(data)
    except wire.WireError as error:
        raise InvalidInputError(
            f"'{shown}' is no trace: {error}. Write one with: "
            "open(FILE, 'wb').write(run_metadata.SerializeToString())."
        ) from None
    except InvalidInputError as error:
        raise InvalidInputError(f"The trace '{shown}' {error}") from None


def measured(data: bytes) -> Measured:
    """The memory that a serialized ``RunMetadata`` tells of.

    Raises:
        WireError: it is none.
        InvalidInputError: it holds no allocations.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    nodes = 0
    for node in _inside(_inside(_inside([data], _STEP_STATS), _DEVICES), _NODES):
        nodes += 1
        for memory in _inside([node], _MEMORY):
            name, records = _allocations(memory)
            found.setdefault(name, []).extend(records)
    lines = {name: _timeline(records) for name, records in found.items() if records}
    if not lines:
        raise InvalidInputError(
            "holds no allocations. Run the step with "
            "options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)."
        )
    best = max(sorted(lines), key=lambda name: max(size for _, size in lines[name]))
    return Measured(best, lines[best], nodes)


def _inside(messages: Iterator[bytes] | list[bytes], number: int) -> Iterator[bytes]:
    """The messages in a repeated field."""
    for message in messages:
        for key, _, value in wire.fields(message):
            if key == number:
                yield wire.chunk(value)


def _allocations(memory: bytes) -> tuple[str, list[tuple[int, int]]]:
    """An AllocatorMemoryUsed: its name, and (time, bytes taken or, negative, given back)."""
    name, records = "", list[tuple[int, int]]()
    for key, _, value in wire.fields(memory):
        if key == _ALLOCATOR:
            name = wire.text(value)
        elif key == _RECORDS:
            parts = {number: wire.signed(v) for number, _, v in wire.fields(wire.chunk(value))}
            records.append((parts.get(1, 0), parts.get(2, 0)))
    return name, records


def _timeline(records: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    records = sorted(records, key=lambda record: record[0])
    start = records[0][0]
    alive = accumulate(size for _, size in records)
    return tuple((time - start, size) for (time, _), size in zip(records, alive))
