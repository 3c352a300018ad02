"""How much faster ResNet-18 is once its masked channels are removed.

Usage: python -m tools.bench.shrink [--batch 8] [--rounds 9] [--json FILE] [--only NET]

Images of 224 x 224, one thread, the least processor time of runs that take turns. ``fresh`` is the
net as it is initialized (what the figures of Torch-Pruning are of); in ``trained`` the batch norms
make constants of the zeros, which are folded into what follows or carried by a channel.

``folded`` is ``shrink{fold_norms=true}``; ``dense`` what folding alone gives the graph nobody has
dropped channels of. A speed-up is that of the least times, then in brackets the median of those of
each turn, which a machine that others use as well blurs less.

``eights`` is the net of Torch-Pruning's figures: the operations they are given with (1.82 G, then
0.84, 0.49 and 0.15 G) are those of its channels rounded down to multiples of 8: 40, 88, 176 and 352
at 30 %, 16, 32, 72 and 152 at 70 %. ``sixteens`` suits vector units of 16 floats, which take as
long for 40 channels as for 48. In the other nets the ratio is met exactly: 45, 90, 179, 358.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.oracle import environment

CHILD = Path(__file__).with_name("shrink_child.py")
BARS = {0.3: 1.9, 0.5: 3.3, 0.7: 7.9}
"""Torch-Pruning 1.6.1 on torchvision's ResNet-18, batch 8, one thread."""
NETS = {"eights": 8, "sixteens": 16, "fresh": 1, "trained": 1}
"""What the number of channels of a layer is a multiple of."""


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.shrink", description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=NETS)
    args = parser.parse_args(arguments)
    found = measure(args.batch, args.rounds, [args.only] if args.only else list(NETS))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(
    batch: int = 8, rounds: int = 9, nets: Sequence[str] = tuple(NETS)
) -> list[dict[str, Any]]:
    """Measures and prints a table."""
    print(f"ResNet-18, 224 x 224, batch {batch}, one thread")
    print(
        f"{'net':<9}{'ratio':>6}{'ms':>16}{'faster':>15}{'folded: ms':>12}{'faster':>15}"
        f"{'dense':>7}{'bar':>6}{'FLOPs':>8}{'weights':>9}  errors"
    )
    found: list[dict[str, Any]] = []
    for row in rows(batch, rounds, nets):
        found.append(row)
        print(_line(row), flush=True)
    return found


def rows(batch: int, rounds: int, nets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row for each net and ratio."""
    for net in nets:
        for ratio in BARS:
            command = [
                sys.executable,
                "-W",
                "ignore",
                str(CHILD),
                *map(str, (ratio, batch, rounds, net, NETS[net])),
            ]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment()
            )
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
            yield json.loads(done.stdout.strip().splitlines()[-1])


def _line(row: dict[str, Any]) -> str:
    flops, weights = (row[key][0] / row[key][1] for key in ("flops", "parameters"))
    return (
        f"{row['net']:<9}{row['ratio']:>6}{row['before_ms']:>8.1f}{row['after_ms']:>8.1f}"
        f"{row['speedup']:>7.2f} ({row['turns']:.2f})x{row['folded_ms']:>12.1f}"
        f"{row['folded_speedup']:>7.2f} ({row['folded_turns']:.2f})x"
        f"{row['dense_folded_turns']:>6.2f}x{BARS[row['ratio']]:>5}x{flops:>7.2f}x{weights:>8.2f}x"
        f"  {row['error']:.1e} {row['folded_error']:.1e}, {row['removed']} channels gone, "
        f"{row['carriers']} carry constants"
    )


if __name__ == "__main__":
    main()
