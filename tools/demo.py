"""``make demo``: rewrites a bundled training graph and runs both versions side by side.

The graph was written by genuine TensorFlow 1.15.5: 16 reversible blocks, 32 convolutions, batch
normalization, batch 64, gradients and optimizer inside. Usage: python -m tools.demo [--picture]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import graphrev
from graphrev.io import Format, Model, save
from tools.bench.memory import gradient_error, run_child
from tools.picture import draw

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
PICTURE = ROOT / "docs" / "memory.svg"
_POINTS = 400


def main() -> int:
    """Rewrites, runs, prints; fails when the gradients differ."""
    entry = json.loads((FIXTURES / "index.json").read_text())["bench"]
    source = FIXTURES / entry["file"]
    print(f"Rewriting {source.relative_to(ROOT)} (made by TensorFlow 1.15.5) …", flush=True)
    result = graphrev.rewrite(source, "reversible{detect=structural}")
    print(result.report.to_text())
    with tempfile.TemporaryDirectory() as folder:
        before = _run(graphrev.load(source), "before", Path(folder), entry["gradients"])
        after = _run(result.model, "after", Path(folder), entry["gradients"], beside="before")
        error = gradient_error(Path(folder, "before.npz"), Path(folder, "after.npz"))
    _table(before, after, error)
    if "--picture" in sys.argv:
        PICTURE.write_text(draw(before["timeline"], after["timeline"]))
        print(f"Wrote {PICTURE.relative_to(ROOT)}.")
    return 0 if error < 1e-4 else 1


def _run(
    model: Model, name: str, folder: Path, gradients: list[str], beside: str = ""
) -> dict[str, Any]:
    print(f"Running the training step {name} the rewrite …", flush=True)
    path = folder / f"{name}.pb"
    save(Model(model.graph, Format.GRAPH_BINARY, name), path)
    job = {
        "path": str(path),
        "names": gradients,
        "gradients": str(folder / f"{name}.npz"),
        "timeline": _POINTS,
        "steps": 5,
    }
    if beside:
        job["beside"] = str(folder / f"{beside}.pb")
    return run_child(sys.executable, job)


def _table(before: dict[str, Any], after: dict[str, Any], error: float) -> None:
    calls = [sum(side["convolutions"].values()) for side in (before, after)]
    rows = [
        (
            "peak memory of a step",
            f"{before['peak'] / 1e6:.1f} MB",
            f"{after['peak'] / 1e6:.1f} MB",
            f"{before['peak'] / after['peak']:.1f} x less",
        ),
        (
            "step time",
            f"{before['time']:.2f} s",
            f"{after['time']:.2f} s",
            f"{after['time_ratio']:.2f} x, taking turns",
        ),
        ("convolution calls", str(calls[0]), str(calls[1]), f"{calls[1] / calls[0] - 1:+.1%}"),
        ("gradients", "", "", f"relative L2 difference {error:.1e}"),
    ]
    print(f"\n{'TensorFlow ' + before['tensorflow']:<24}{'before':>12}{'after':>12}")
    for label, old, new, note in rows:
        print(f"{label:<24}{old:>12}{new:>12}   {note}")


if __name__ == "__main__":
    sys.exit(main())
