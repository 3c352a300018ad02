"""Graphs that tf.contrib.model_pruning masked are stripped by what they are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import graphrev
from tools.oracle import environment, find_oracle

SCRIPT = Path(__file__).with_name("contrib.py")


@pytest.mark.oracle
def test_contrib_graphs_give_the_same_outputs_bit_for_bit(tmp_path: Path) -> None:
    python, why = find_oracle(install=False)
    if python is None:
        pytest.skip(why)

    def child(what: str) -> str:
        command = [str(python), "-W", "ignore", str(SCRIPT), what, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    child("build")
    for net, masks in (("conv", 5), ("dense", 3), ("lstm", 2)):
        before = graphrev.load(tmp_path / f"{net}.pb").graph
        result = graphrev.rewrite(tmp_path / f"{net}.pb", "strip-masks")
        result.save(tmp_path / f"{net}.small.pb")
        gone = set(before.nodes) - set(result.model.graph.nodes)
        inside = 2 if net == "lstm" else 0
        assert len(gone) == masks * 3 + inside
        assert set(result.model.graph.nodes) <= set(before.nodes)
    assert json.loads(child("run").splitlines()[-1]) == {"conv": 0.0, "dense": 0.0, "lstm": 0.0}
