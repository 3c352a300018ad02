"""Prints the benchmark tables.

Usage: python -m tools.bench [memory|cost|prune|shrink] [--layers 8,32,128] [--processes 5]
       [--sizes 1000,10000,100000,1000000] [--no-grappler] [--inter-op N] [--steps N]
       [--seeds 5] [--levels 0.5,0.9] [--split test|valid] [--arm NAME=OPTIONS]… [--json FILE]

``prune`` takes half an hour and is no part of ``all``; ``--arm`` adds options of the mask pass.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench import cost, memory, prune, shrink


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench", description=__doc__)
    parser.add_argument(
        "what", nargs="?", choices=["memory", "cost", "prune", "shrink", "all"], default="all"
    )
    parser.add_argument("--layers", default="8,32,128")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--no-grappler", action="store_true")
    parser.add_argument("--inter-op", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--levels", default="0.5,0.8,0.9,0.95,0.975")
    parser.add_argument("--split", choices=["test", "valid"], default="test")
    parser.add_argument("--arm", action="append", default=[], dest="arms")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    if args.what == "shrink":
        found["shrink"] = shrink.measure()
    if args.what in ("memory", "all"):
        options = {
            "grappler": not args.no_grappler,
            "inter_op": args.inter_op,
            "steps": args.steps,
        }
        found["memory"] = _memory(_numbers(args.layers), args.processes, options)
    if args.what in ("cost", "all"):
        found["cost"] = _cost(_numbers(args.sizes))
    if args.what == "prune":
        arms = dict(arm.partition("=")[::2] for arm in args.arms)
        found["prune"] = _prune(list(map(float, args.levels.split(","))), args, arms)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _memory(depths: list[int], processes: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    print(f"Training step, batch 64, {processes} processes each, {options}")
    print(
        f"{'layers':>6}  {'arm':<20}{'TF':<8}{'peak MB':>15}{'convs':>7}{'':>9}"
        f"{'time':>7}  gradient error"
    )
    rows: list[dict[str, Any]] = []
    for layers in depths:
        for row in memory.measure(layers, processes, _progress, options):
            rows.append(asdict(row))
            print(_memory_line(row), flush=True)
    return rows


def _memory_line(row: memory.Row) -> str:
    head = f"{row.layers:>6}  {row.arm:<20}{row.tensorflow:<8}"
    if row.note:
        return f"{head}  not measured: {row.note}"
    low, high = row.peak_mb
    error = "" if row.gradient_error is None else f"{row.gradient_error:.1e}"
    return (
        f"{head}{low:>7.1f}-{high:<7.1f}{row.convolutions:>7}  ({row.convolution_ratio - 1:+.1%})"
        f"{row.time_ratio:>7.2f}  {error}"
    )


def _cost(sizes: list[int]) -> list[dict[str, Any]]:
    print("Load, analyze, rewrite, verify structure, save; beside tf.import_graph_def")
    print(f"{'nodes':>9}{'seconds':>10}{'us/node':>9}{'MB':>8}{'TF seconds':>12}{'TF MB':>8}")
    rows: list[dict[str, Any]] = []
    for size in sizes:
        _progress(f"{size} nodes")
        row = cost.measure(size, compare=size <= 500_000)
        rows.append(asdict(row))
        theirs = f"{row.import_seconds:>12.1f}{row.import_bytes / 1e6:>8.0f}"
        print(
            f"{row.nodes:>9}{row.rewrite_seconds:>10.2f}"
            f"{row.rewrite_seconds / row.nodes * 1e6:>9.1f}{row.rewrite_bytes / 1e6:>8.0f}"
            f"{theirs if row.import_bytes else '':>20}",
            flush=True,
        )
    return rows


def _prune(levels: list[float], args: Any, arms: dict[str, str]) -> list[dict[str, Any]]:
    print(f"Digits, {args.seeds} seeds, {args.split} split: mean accuracy, its standard error,")
    print("zeros of all kernels, processor time of 20 epochs")
    rows: list[dict[str, Any]] = []
    for row in prune.measure(levels, args.seeds, args.split, arms, _progress):
        rows.append(asdict(row))
        print(prune.line(row), flush=True)
    return rows


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}\r")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
