"""Peak memory, convolution calls, step time and gradient error, arm by arm."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.oracle import environment, find_oracle

CHILD = Path(__file__).with_name("child.py")
PASS = "reversible{detect=structural}"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One arm at one depth: extremes and medians over the processes."""

    arm: str
    tensorflow: str
    layers: int
    peak_mb: tuple[float, float]
    convolutions: int
    convolution_ratio: float
    time_ratio: float
    gradient_error: float | None
    note: str = ""


@dataclass(frozen=True)
class Arm:
    """How an arm is measured: the Python that builds and runs it, and what it builds."""

    name: str
    python: str
    build: str
    rewritten: bool = False


def arms(oracle: Path | None) -> Iterator[Arm]:
    """The arms in the table's order; the plain arm of each TensorFlow comes first."""
    here = sys.executable
    yield Arm("plain", here, "plain")
    yield Arm("graphrev offline", here, "plain", rewritten=True)
    yield Arm("graphrev live", here, "live")
    yield Arm("tf.recompute_grad", here, "recompute_grad")
    if oracle is not None:
        old = str(oracle)
        yield Arm("plain", old, "plain")
        yield Arm("graphrev offline", old, "plain", rewritten=True)
        yield Arm("contrib rev_block", old, "rev_block")


def run_child(python: str, job: dict[str, Any]) -> dict[str, Any]:
    """The child's answer.

    Raises:
        RuntimeError: the child failed; the message is its last words.
    """
    command = [python, "-W", "ignore", str(CHILD), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "it died")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(
    layers: int, processes: int, say: Say, options: dict[str, Any] | None = None
) -> Iterator[Row]:
    """All arms at one depth, each as soon as it is measured; a block has two layers.

    Args:
        options: ``grappler`` and ``inter_op`` for every child.
    """
    oracle, why = find_oracle()
    with tempfile.TemporaryDirectory() as folder:
        bench = _Depth(layers, processes, Path(folder), say, options or {})
        yield from (bench.row(arm) for arm in arms(oracle))
    if oracle is None:
        yield Row("contrib rev_block", "1.15.5", layers, (0, 0), 0, 0, 0, None, why)


class _Depth:
    """Measures arms at one depth; remembers the plain arms to compare with."""

    def __init__(
        self, layers: int, processes: int, folder: Path, say: Say, options: dict[str, Any]
    ) -> None:
        self._layers, self._blocks = layers, layers // 2
        self._processes = processes
        self._folder = folder
        self._say = say
        self._options = options
        self._plain: dict[str, tuple[int, Path, Path]] = {}

    def row(self, arm: Arm) -> Row:
        """Measures one arm."""
        self._say(f"{self._layers} layers: {arm.name}")
        try:
            graph, job = self._build(arm)
            gradients = graph.with_suffix(".npz")
            known = self._plain.get(arm.python)
            beside = {"beside": str(known[1])} if known is not None else {}
            job.update({"gradients": str(gradients), **beside})
            results = [run_child(arm.python, job) for _ in range(self._processes)]
        except RuntimeError as error:
            return Row(arm.name, "", self._layers, (0, 0), 0, 0, 0, None, str(error)[:80])
        calls = sum(results[0]["convolutions"].values())
        if known is None:
            known = self._plain[arm.python] = (calls, graph, gradients)
        peaks = [result["peak"] / 1e6 for result in results]
        return Row(
            arm.name,
            results[0]["tensorflow"],
            self._layers,
            (min(peaks), max(peaks)),
            calls,
            calls / known[0],
            statistics.median(result["time_ratio"] for result in results),
            gradient_error(known[2], gradients),
        )

    def _build(self, arm: Arm) -> tuple[Path, dict[str, Any]]:
        """Builds the arm's graph with its own TensorFlow, rewrites it here; how to measure it."""
        path = self._folder / f"{arm.build}-{Path(arm.python).parts[-3]}.pb"
        job = {"build": arm.build, "blocks": self._blocks, "path": str(path)}
        names = run_child(arm.python, job)["names"]
        if arm.rewritten:
            path = rewritten(path)
        return path, {"path": str(path), "names": names, **self._options}


def rewritten(path: Path) -> Path:
    """Rewrites a graph file into one beside it."""
    import graphrev

    target = path.with_name(f"rewritten-{path.name}")
    graphrev.rewrite(path, PASS).save(target, overwrite=True)
    return target


def gradient_error(before: Path, after: Path) -> float:
    """Relative L2 error of all gradients taken together."""
    old, new = np.load(before), np.load(after)
    first = np.concatenate([old[key].ravel().astype(np.float64) for key in old.files])
    second = np.concatenate([new[key].ravel().astype(np.float64) for key in new.files])
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))
