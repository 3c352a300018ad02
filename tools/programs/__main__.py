"""Builds random training programs, rewrites them by all passes, and compares what both train.

Usage: python -m tools.programs [--count N] [--seed S] [--pairs P] [--optimized K]
                               [--keep FOLDER]

Programs are numbered: ``--seed S --count 1`` makes number S again. What differs is written to the
folder, with the smallest graph found that still differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from graphrev.diff.reduction import reduce_graph
from graphrev.io import encode_graph
from graphrev.ir import Graph
from tools.programs.check import check, fails
from tools.programs.generate import Program

_EVERY = 50
"""Programs between two lines of figures."""


def _keep(folder: Path, seed: int, graph: Graph, passes: tuple[str, ...]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}.pb").write_bytes(encode_graph(graph))
    if not fails(graph, passes):
        return "not shrunk"
    small = reduce_graph(graph, lambda candidate: fails(candidate, passes))
    (folder / f"{seed}-small.pb").write_bytes(encode_graph(small))
    return f"{len(graph)} nodes shrunk to {len(small)}"


def main() -> int:
    """Checks programs and prints the figures; 1 if any differs."""
    parser = argparse.ArgumentParser(
        prog="tools.programs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=2, help="pairs of passes per program")
    parser.add_argument(
        "--optimized", type=int, default=1, help="run every K-th program with Grappler; default all"
    )
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    start, tally = time.monotonic(), Counter[str]()
    for seed in range(args.seed, args.seed + args.count):
        program = Program(seed)
        graph = program.build()
        result = check(graph, seed, args.pairs, args.optimized)
        tally.update(
            programs=1,
            rewritten=result.rewritten,
            compared=result.compared,
            rejected=result.rejected,
            bad=bool(result.faults),
        )
        for passes, fault in result.faults:
            kept = _keep(args.keep, seed, graph, passes) if args.keep else ""
            print(f"program {seed}, {' then '.join(passes)}: {fault} {kept}", flush=True)
        if tally["programs"] % _EVERY == 0 or tally["programs"] == args.count:
            _print(tally, time.monotonic() - start)
    return 1 if tally["bad"] else 0


def _print(tally: Counter[str], seconds: float) -> None:
    count = tally["programs"]
    print(
        f"{count} programs in {seconds:.0f} s ({60 * count / seconds:.0f} a minute): "
        f"{tally['rewritten']} rewritten ({tally['rewritten'] / count:.0%}), "
        f"{tally['compared']} graphs compared, {tally['rejected']} rejections, "
        f"{tally['bad']} programs with faults",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
