"""Accuracy of pruned nets on scikit-learn's digits, and what training them costs, beside peers.

Every arm starts from the same dense checkpoints and sees the same batches: 20 epochs, cubic
schedule over the first 60 % of the steps, an update every 10 steps, defaults otherwise. Sparsity is
that of all 187,936 weights of kernels: an arm that keeps kernels dense drops more of the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench import peers
from tools.oracle import environment, find_oracle

CHILD = Path(__file__).with_name("digits_child.py")
TFMOT = Path(__file__).with_name("tfmot_child.py")
WEIGHTS = 187_936
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.975)
BARS = {0.5: 99.3, 0.8: 99.2, 0.9: 99.2, 0.95: 98.6, 0.975: 98.2}
BATCH, EPOCHS, RISING = 64, 20, 0.6
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One arm at one sparsity.

    Attributes:
        accuracies: in per cent, by seed.
        zeros: the share of all weights that is 0.
        seconds: processor time of the training, the least of all seeds.
        note: why there is nothing to tell.
    """

    arm: str
    sparsity: float
    accuracies: tuple[float, ...] = ()
    zeros: float = 0.0
    seconds: float = 0.0
    note: str = ""

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        count = len(self.accuracies)
        return float(np.std(self.accuracies, ddof=1) / count**0.5) if count > 1 else 0.0


@dataclass
class Protocol:
    """The dense checkpoints of a split, and how arms are trained from them."""

    split: str
    seeds: int
    folder: Path
    data: Path = field(init=False)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.data = peers.splits()[self.split]
        self.steps = EPOCHS * (len(np.load(self.data)["x_train"]) // BATCH)

    def file(self, name: str) -> str:
        """A file of this run."""
        return str(self.folder / name)

    def dense(self) -> Row:
        """Trains the nets that every arm starts from."""
        jobs = [
            {"do": "dense", "meta": self.file(f"{n}.meta"), "save": self.file(f"{n}.ckpt")}
            for n in range(self.seeds)
        ]
        return _row("dense, 20 epochs", 0.0, self.run(sys.executable, CHILD, jobs))

    def run(self, python: str, child: Path, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Runs one job per seed in one process."""
        common = [
            {"data": str(self.data), "seed": n, "restore": self.file(f"{n}.ckpt"), **job}
            for n, job in enumerate(jobs)
        ]
        listed = Path(self.file("jobs.json"))
        listed.write_text(json.dumps(common))
        command = [python, "-W", "ignore", str(child), str(listed)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment()
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return [json.loads(line) for line in lines]

    def masked(self, name: str, options: str, sparsity: float) -> Row:
        """Our own: the dense graph's file, masked offline."""
        import graphrev

        source, target = Path(self.file("0.meta")), Path(self.file("masked.meta"))
        begin, end = self.steps, self.steps + int(RISING * self.steps)
        common = f"schedule=polynomial,begin={begin},end={end},frequency=10{options}"
        plan: Any = graphrev.analyze(source, f"mask{{{common}}}").steps[0].plan
        share = sparsity * WEIGHTS / sum(kernel.size for kernel in plan.kernels)
        rewritten = graphrev.rewrite(source, f"mask{{sparsity={share!r},{common}}}")
        rewritten.save(target, overwrite=True)
        job = {"do": "prune", "meta": str(target)}
        return _row(name, sparsity, self.run(sys.executable, CHILD, [job] * self.seeds))

    def fine_tuned(self) -> Row:
        """The dense net trained on as long as the pruned ones."""
        job = {"do": "prune", "meta": self.file("0.meta")}
        found = self.run(sys.executable, CHILD, [job] * self.seeds)
        return _row("dense, 40 epochs", 0.0, found)

    def peer(self, name: str, python: Path | None, why: str, child: Path, level: float) -> Row:
        """A peer in its own environment; a note where that cannot be had."""
        if python is None:
            return Row(name, level, note=why)
        job = {"do": "contrib", "sparsity": level}
        try:
            return _row(name, level, self.run(str(python), child, [job] * self.seeds))
        except RuntimeError as error:
            return Row(name, level, note=f"fails: {error}")


def _row(arm: str, sparsity: float, found: Sequence[dict[str, Any]]) -> Row:
    kept: dict[str, int] = found[0].get("kept", {})
    dropped = _dropped(kept)
    return Row(
        arm,
        sparsity,
        tuple(one["test"] for one in found),
        dropped / WEIGHTS,
        min(one.get("seconds", 0.0) for one in found),
    )


SIZES = {"conv0": 288, "conv1": 18432, "conv2": 36864, "dense0": 131072, "dense1": 1280}


def _dropped(kept: dict[str, int]) -> int:
    """The zeros; kernels without a mask are whole."""
    by_place = dict(zip(map(str, range(len(SIZES))), SIZES.values()))
    sizes = [SIZES.get(name.split("/")[0], by_place.get(name, 0)) for name in kept]
    return sum(sizes) - sum(kept.values())


def measure(
    levels: Sequence[float], seeds: int, split: str, arms: dict[str, str], progress: Progress
) -> Iterator[Row]:
    """One row per arm and level.

    Args:
        arms: options of the mask pass by name, beside its defaults.
    """
    oracle, no_oracle = find_oracle(install=False)
    tfmot, no_tfmot = peers.find_tfmot() if split == "test" else (None, "")
    with tempfile.TemporaryDirectory() as folder:
        protocol = Protocol(split, seeds, Path(folder))
        progress("dense nets")
        yield protocol.dense()
        yield protocol.fine_tuned()
        for level in levels:
            for name, options in {"graphrev": "", **arms}.items():
                progress(f"{name}, {level:.1%}")
                yield protocol.masked(name, options and f",{options}", level)
            if split == "test":
                progress(f"peers, {level:.1%}")
                name = "tf.contrib.model_pruning 1.15.5"
                yield protocol.peer(name, oracle, no_oracle, CHILD, level)
                yield protocol.peer("tfmot 0.8.1", tfmot, no_tfmot, TFMOT, level)


def line(row: Row) -> str:
    """A row as text."""
    head = f"{row.sparsity:>6.1%}  {row.arm:<34}"
    if row.note:
        return f"{head}not measured: {row.note}"
    bar = BARS.get(row.sparsity)
    wish = f"   bar {bar} - {row.error:.2f}" if bar and row.arm == "graphrev" else ""
    cost = f"{row.seconds:>7.1f} s" if row.seconds else " " * 9
    return f"{head}{row.mean:>6.2f} +- {row.error:.2f}{row.zeros:>8.1%}{cost}{wish}"
