"""Feeds mutated inputs to every entry point; stops at nothing, reports every crash.

Usage: python -m tools.fuzz [--runs N] [--seed S] [--jobs N] [--entry NAME]... [--keep FOLDER]

An input crashes when anything but a GraphrevError comes out, and hangs when it takes over 10 s; one
that ends the whole process is named by the chunk it is in.
Inputs are numbered: ``--seed S --runs 1 --entry NAME`` makes number S again. With ``--keep`` the
inputs that crash are written there.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphrev.errors import GraphrevError
from tools.fuzz.entries import Entry, entries

HANG = 10
"""Seconds of processor time an input may take: a machine that stands still is no hang."""
_CHUNK = 500


class Hang(BaseException):
    """An input took too long."""


@dataclass(frozen=True)
class Crash:
    """An input that crashed, and where."""

    entry: str
    number: int
    where: str
    trace: str
    data: bytes


@dataclass(frozen=True)
class Tally:
    """What became of a run of inputs."""

    accepted: int
    refused: int
    slowest: float
    crashes: tuple[Crash, ...]


def fuzz(entry: Entry, numbers: range) -> Tally:
    """Runs the inputs of these numbers."""
    accepted = refused = 0
    slowest = 0.0
    crashes: list[Crash] = []
    signal.signal(signal.SIGPROF, _hang)
    for number in numbers:
        rng = random.Random(f"{entry.name}/{number}")
        data = entry.make(rng)
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG)
        try:
            entry.run(data, rng)
            accepted += 1
        except GraphrevError:
            refused += 1
        except (Exception, Hang) as error:
            crashes.append(_crash(entry.name, number, error, data))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - start)
    return Tally(accepted, refused, slowest, tuple(crashes))


def _hang(*_: Any) -> None:
    raise Hang


def _crash(entry: str, number: int, error: BaseException, data: bytes) -> Crash:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    return Crash(entry, number, where, "".join(traceback.format_exception(error)), data)


def _one(job: tuple[str, range]) -> tuple[str, Tally]:
    name, numbers = job
    entry = next(entry for entry in entries() if entry.name == name)
    return name, fuzz(entry, numbers)


def _jobs(names: list[str], seed: int, runs: int) -> Iterator[tuple[str, range]]:
    """Chunks of every entry in turn."""
    for start in range(seed, seed + runs, _CHUNK):
        for name in names:
            yield name, range(start, min(start + _CHUNK, seed + runs))


def main() -> int:
    """Fuzzes and prints what was found; 1 if anything crashed."""
    known = [entry.name for entry in entries()]
    parser = argparse.ArgumentParser(
        prog="tools.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="inputs per entry")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--entry", action="append", choices=known)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    names = args.entry or known
    counts, places, slowest = Counter[str](), dict[str, Crash](), 0.0
    with ProcessPoolExecutor(args.jobs) as pool:
        for name, tally in pool.map(_one, _jobs(names, args.seed, args.runs)):
            counts[f"{name} accepted"] += tally.accepted
            counts[f"{name} refused"] += tally.refused
            slowest = max(slowest, tally.slowest)
            for crash in tally.crashes:
                counts[f"{name} CRASHED"] += 1
                places.setdefault(crash.where, crash)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{sum(counts.values())} inputs\r")
    _print(counts, places, slowest, args.keep)
    return 1 if places else 0


def _print(
    counts: Counter[str], places: dict[str, Crash], slowest: float, keep: Path | None
) -> None:
    for what, number in sorted(counts.items()):
        print(f"{what:<28}{number:>10}")
    print(f"{'slowest input':<28}{slowest:>9.2f}s")
    for where, crash in sorted(places.items()):
        print(f"\n{where}: --entry {crash.entry} --seed {crash.number} --runs 1\n{crash.trace}")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{crash.entry}-{crash.number}").write_bytes(crash.data)


if __name__ == "__main__":
    sys.exit(main())
