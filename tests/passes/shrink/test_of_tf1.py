"""What TensorFlow 1.15.5 built and saved is shrunk offline and runs there, frozen or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import graphrev as gr
from tests.passes.shrink import of_tf1
from tools.oracle import environment, find_oracle


def check(python: str, folder: Path) -> None:
    def child(what: str) -> str:
        command = [python, "-W", "ignore", of_tf1.__file__, what, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    child("build")
    frozen = gr.rewrite(folder / "frozen.pb", "shrink")
    frozen.save(folder / "small.pb")
    trained = gr.rewrite(folder / "model.meta", f"shrink{{checkpoint={folder / 'model'}}}")
    trained.save(folder / "small.meta")
    exported = gr.rewrite(folder / "exported", "shrink")
    exported.save(folder / "small")
    for result in (frozen, trained, exported):
        plan = result.report.steps[0].plan.to_json()
        assert plan["channels_removed"] + plan["carriers"] == 3 + 3 + 1
        assert plan["parameters"]["after"] < plan["parameters"]["before"]
    far = json.loads(child("run").splitlines()[-1])
    assert far["frozen"] <= 1e-5 * max(1.0, far["scale"])
    assert far["variables"] <= 1e-5 * max(1.0, far["scale"])
    assert far["saved_model"] <= 1e-5 * max(1.0, far["scale"])


@pytest.mark.slow
def test_a_net_of_this_tensorflow(tmp_path: Path) -> None:
    check(sys.executable, tmp_path)


@pytest.mark.oracle
def test_a_net_of_tensorflow_1_15(tmp_path: Path) -> None:
    oracle, reason = find_oracle(install=False)
    if oracle is None:
        pytest.skip(reason)
    check(str(oracle), tmp_path)
