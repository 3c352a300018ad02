"""Kills processes at random moments while they write, and looks at what is left.

Usage: python -m tools.interrupt [--kills N] [--seed S] [--kind NAME]...

A forked child writes the old and the new content of a target in turn until it is killed (SIGKILL).
Afterwards there must be one of the two, whole, and after the next write nothing else beside it.
Forking spares the start of an interpreter: a kill costs milliseconds, and nearly all hit a write.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from graphrev.io import checkpoints, writing
from tools.interrupt.writers import KINDS, Writer

_WRITING = frozenset(str(module.__file__) for module in (writing, checkpoints))


@dataclass
class Outcome:
    """What a number of kills left behind.

    Attributes:
        kills: how many there were.
        interrupted: how many left something that the next write had to remove.
        states: how often the old content, the new one or none was found.
        faults: what must not be.
    """

    kills: int = 0
    interrupted: int = 0
    states: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])


def kill_writes(kind: str, kills: int, seed: int, folder: Path) -> Outcome:
    """Kills a writer ``kills`` times; ``folder`` is empty and stays this function's own."""
    writer, rng, target = KINDS[kind](), random.Random(f"{kind}/{seed}"), folder / kind
    known, names = _contents(writer, target)
    period, outcome = _period(writer, target), Outcome()
    for _ in range(kills):
        _kill(writer, target, rng.uniform(0, 2 * period))
        _look(writer, target, known, outcome, names)
    return outcome


def kill_at_each_line(kind: str, folder: Path) -> Outcome:
    """Kills a writer before every line that the rooms of ``_WRITING`` run while it writes.

    Nothing depends on how fast the machine is: the same places are hit in every run.
    """
    writer, target, outcome = KINDS[kind](), folder / kind, Outcome()
    known, names = _contents(writer, target)
    while _dies_at(outcome.kills + 1, lambda: writer.write(target, outcome.kills % 2)):
        _look(writer, target, known, outcome, names)
    return outcome


def _contents(writer: Writer, target: Path) -> tuple[Mapping[str | None, str], frozenset[str]]:
    """Both contents by what is read of them, and the files there are then."""
    known: dict[str | None, str] = {}
    for which, name in ((0, "old"), (1, "new")):
        in_child(lambda which=which: writer.write(target, which))
        known[told(lambda: writer.read(target))] = name
    assert len(known) == 2, "both contents are the same: nothing could be told"
    return known, _names(target.parent)


def _dies_at(line: int, work: Callable[[], object]) -> bool:
    """Whether a child that runs ``work`` gets as far as line number ``line``, where it is killed.

    Raises:
        RuntimeError: it failed before.
    """
    passed = itertools.count(1)

    def traced(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in _WRITING:
            return None
        if event == "line" and next(passed) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return traced

    child = os.fork()
    if not child:
        status = 1
        try:
            sys.settrace(traced)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("The writer failed before it was killed.")
    return os.WIFSIGNALED(status)


def _look(
    writer: Writer,
    target: Path,
    known: Mapping[str | None, str],
    outcome: Outcome,
    names: frozenset[str],
) -> None:
    """Checks what a kill left, then writes once and checks again."""
    outcome.kills += 1
    found = told(lambda: writer.read(target))
    outcome.states[known.get(found, "none" if found is None else "BROKEN")] += 1
    if found not in known:
        outcome.faults.append(f"kill {outcome.kills}: {found or 'nothing there'}")
    outcome.interrupted += len(_names(target.parent)) > len(names)
    in_child(lambda: writer.write(target, 1))
    left = _names(target.parent)
    if len(left) > len(names) + 1 or any("graphrev" in name for name in left):
        outcome.faults.append(f"kill {outcome.kills}: litter after the next write: {sorted(left)}")


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


def _period(writer: Writer, target: Path) -> float:
    """Seconds that a pair of writes takes in a child."""

    def both() -> None:
        start = time.perf_counter()
        writer.write(target, 0)
        writer.write(target, 1)
        os.write(answer[1], repr(time.perf_counter() - start).encode())

    answer = os.pipe()
    in_child(both)
    seconds = float(os.read(answer[0], 64))
    for end in answer:
        os.close(end)
    return seconds


def _kill(writer: Writer, target: Path, after: float) -> None:
    """Lets a child write in turns and kills it ``after`` seconds."""
    started = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(started[1], b"!")
            while True:
                writer.write(target, 0)
                writer.write(target, 1)
        finally:
            os._exit(1)
    os.read(started[0], 1)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for end in started:
        os.close(end)


def in_child(work: Callable[[], object]) -> None:
    """Runs ``work`` in a forked child.

    Raises:
        RuntimeError: it failed there.
    """

    def silent() -> None:
        work()

    said = told(silent)
    if said is not None:
        raise RuntimeError(said)


def told(work: Callable[[], str | None]) -> str | None:
    """What ``work`` answers in a forked child; an exception there is an answer too."""
    answer = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
            os.write(answer[1], b"" if said is None else said.encode()[:4096])
        except BaseException as error:
            os.write(answer[1], f"{type(error).__name__}: {error}".encode()[:4096])
        finally:
            os._exit(0)
    os.close(answer[1])
    with os.fdopen(answer[0], "rb") as reader:
        said = reader.read().decode()
    _, status = os.waitpid(child, 0)
    return said or (f"the child ended with status {status}" if status else None)


def main() -> int:
    """Kills and prints what was found; 1 if anything was lost or left."""
    parser = argparse.ArgumentParser(
        prog="tools.interrupt", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1000, help="over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    args = parser.parse_args()
    kinds, faults = args.kind or list(KINDS), 0
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            outcome = kill_writes(kind, -(-args.kills // len(kinds)), args.seed, Path(folder))
        found = ", ".join(f"{count} {state}" for state, count in sorted(outcome.states.items()))
        seconds = time.monotonic() - start
        print(
            f"{kind:<12} {outcome.kills} kills in {seconds:.0f} s: {found}; "
            f"{outcome.interrupted} mid-write; {len(outcome.faults)} faults",
            flush=True,
        )
        for fault in outcome.faults[:5]:
            print(f"  {fault}")
        faults += len(outcome.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
