"""The training step of a SavedModel that TensorFlow 2 made, rewritten in its functions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import graphrev
from tests.passes.reversible.test_function_bodies import copies


def child(job: str, folder: Path) -> str:
    """Runs a job in a process that has not left eager mode."""
    module = "tests.passes.reversible.saved_model_child"
    command = [sys.executable, "-m", module, job, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_training_step_of_a_saved_model_trains_as_before(tmp_path: Path) -> None:
    plain, rewritten = tmp_path / "plain", tmp_path / "rewritten"
    child("save", plain)
    result = graphrev.rewrite(plain, ["reversible", "recompute"])
    result.save(rewritten)
    for step in result.report.run.steps:
        (function,) = step.plan.functions
        assert "step" in function.node and len(function.blocks) == 1
        assert step.plan.rejections == ()
    assert copies(graphrev.load(rewritten).graph) > 20
    before, after = (json.loads(child("train", p).splitlines()[-1]) for p in (plain, rewritten))
    found: dict[str, Any] = before
    assert len(set(found["losses"])) == 5 and len(found["sums"]) == 4
    for key, values in found.items():
        assert after[key] == pytest.approx(values, rel=1e-5, abs=1e-6)
