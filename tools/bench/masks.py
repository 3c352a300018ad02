"""What masks cost: their update, their part of a training step, their nodes, the rewriting.

Usage: python -m tools.bench.masks [--rounds 7] [--json FILE]

One thread, smallest processor time of several runs. ``tf.contrib.model_pruning`` runs beside it
where TensorFlow 1.15 is installed (``python -m tools.oracle``). Every graph is built by a child
process, so that neither TensorFlow meets the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.oracle import environment, find_oracle

CHILD = Path(__file__).with_name("masks_child.py")
KERNELS = {"2.36 M": [3, 3, 512, 512], "16.8 M": [4096, 4096]}
BARS = {"2.36 M": 20.0, "16.8 M": 160.0}
CORPUS = Path(os.environ.get("GRAPHREV_CORPUS", Path(__file__).parents[3] / "shared/corpus"))
NOW = "mask{sparsity=0.9,first=masked,last=masked,frequency=1}"
NEVER = "mask{sparsity=0.9,first=masked,last=masked,begin=1000000000}"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="tools.bench.masks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in (*updates(Path(folder), args.rounds), *step(Path(folder), args.rounds)):
            found.append(row)
            _print(row)
        for row in (
            *nodes(Path(folder)),
            *resnet(CORPUS / "keras_imagenet_main_graph_mode.pbtxt.gz"),
        ):
            found.append(row)
            _print(row)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def _print(row: dict[str, Any]) -> None:
    bar = "" if row["bar"] is None else f"   bar {row['bar']:g}"
    print(f"{row['what']:<58}{row['value']:>10.4g} {row['unit']:<8}{bar}", flush=True)


def _row(what: str, value: float, unit: str, bar: float | None = None) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bar": bar}


def _child(python: str, *args: object) -> dict[str, Any]:
    command = [python, "-W", "ignore", str(CHILD), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _rewrite(source: Path, target: Path, spec: str) -> Any:
    import graphrev

    result = graphrev.rewrite(source, spec)
    result.save(target, overwrite=True)
    return result


def updates(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """One update of one mask, by size, beside the peer's full sort."""
    rows: list[dict[str, Any]] = []
    oracle = find_oracle(install=False)[0]
    for name, shape in KERNELS.items():
        plain, masked = folder / "kernel.pb", folder / "kernel.masked.pb"
        for python, label in _pythons(oracle):
            _child(python, "kernel", plain, *shape)
            _rewrite(plain, masked, "mask{sparsity=0.9}")
            spent = _child(python, "time", masked, "model_pruning/mask_update", rounds)
            rows.append(_row(f"update, {name} weights, {label}", spent["ms"], "ms", BARS[name]))
        if oracle is not None:
            spent = _child(str(oracle), "contrib", rounds if name == "2.36 M" else 2, *shape)
            rows.append(_row(f"update, {name} weights, contrib", spent["ms"], "ms"))
    return rows


def _pythons(oracle: Path | None) -> list[tuple[str, str]]:
    here = [(sys.executable, "this TensorFlow")]
    return here if oracle is None else [*here, (str(oracle), "TensorFlow 1.15")]


def step(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """A training step of a net of 9.35 M weights: dense, with masks, with an update."""
    names = ("plain", "first", "masked", "due", "taylor")
    plain, first, masked, due, taylor = (folder / f"net.{name}.pb" for name in names)
    _child(sys.executable, "net", plain, "plain")
    _child(sys.executable, "net", first, "first")
    _rewrite(plain, masked, NEVER)
    _rewrite(plain, due, NOW)
    _rewrite(plain, taylor, NEVER.replace("}", ",criterion=taylor}"))
    dense, program, idle, update, scored = _child(
        sys.executable, "steps", rounds * 3, plain, first, masked, due, taylor
    )["ms"]
    return [
        _row("step, 9.35 M weights, dense", dense, "ms"),
        _row("step with masks, more than dense", (idle / dense - 1.0) * 100, "%", 5.0),
        _row("  the same, masked in the program", (program / dense - 1.0) * 100, "%"),
        _row("  with masks and criterion=taylor", (scored / dense - 1.0) * 100, "%"),
        _row("whole update, in dense steps", (update - idle) / dense, "steps", 1.5),
    ]


def nodes(folder: Path) -> list[dict[str, Any]]:
    """Nodes per mask, and per further kernel with its update and saving."""
    import graphrev
    from graphrev.ir.marks import kernel_of

    counts: list[int] = []
    beside = 0
    for kernels in (3, 4):
        plain = folder / "deep.pb"
        _child(sys.executable, "deep", plain, kernels)
        before = graphrev.load(plain).graph
        after = graphrev.rewrite(plain, NOW).model.graph
        fresh = [node for node in after.nodes.values() if node.name not in before.nodes]
        counts.append(len(fresh))
        ours = [node for node in fresh if kernel_of(node) == "l0/w"]
        beside = sum(node.name.startswith("l0/") for node in ours)
    return [
        _row("nodes per mask", beside, "nodes", 9),
        _row("nodes per further kernel, update included", counts[1] - counts[0], "nodes", 49),
    ]


def resnet(path: Path) -> list[dict[str, Any]]:
    """ResNet-50 of the corpus, masked offline."""
    import graphrev

    if not path.exists():
        return []
    model = graphrev.load(path)
    start = time.process_time()
    plan: Any = graphrev.rewrite(model, "mask{sparsity=0.8}").report.steps[0].plan
    spent = time.process_time() - start
    convolutions = sum(n.op == "Conv2D" for n in model.graph.nodes.values())
    accounted = len(plan.kernels) + len(plan.rejections)
    return [
        _row("ResNet-50 masked, beyond loading", spent, "s", 2.0),
        _row(f"kernels accounted for (of {convolutions} convolutions + 1)", accounted, "kernels"),
    ]


if __name__ == "__main__":
    main()
