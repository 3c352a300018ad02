"""Graphs made by TensorFlow 1.15.5, rewritten offline, trained there and in TensorFlow 2.x."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphrev
from tests.conftest import FIXTURES, INDEX
from tools.oracle import environment, find_oracle

pytestmark = pytest.mark.oracle
CHILD = Path(__file__).with_name("train_child.py")
NETS = ["revnet", "revnet_ref", "side_inputs", "sums", "partitioned", "summaries_and_head"]


@pytest.fixture(scope="module")
def oracle() -> str:
    python, why = find_oracle()
    if python is None:
        pytest.skip(why)
    return str(python)


def files(name: str, folder: Path) -> tuple[Path, Path]:
    """The fixture's MetaGraph as it is, and rewritten."""
    plain, rewritten = folder / "plain.meta", folder / "rewritten.meta"
    plain.write_bytes(gzip.decompress((FIXTURES / INDEX[name]["file"]).read_bytes()))
    result = graphrev.rewrite(plain, "reversible{detect=structural}")
    assert result.changed
    result.save(rewritten)
    return plain, rewritten


def train(python: str, name: str, meta: Path, steps: int, **job: Any) -> list[float]:
    job |= {"meta": str(meta), "steps": steps, **{k: INDEX[name][k] for k in ("feeds", "loss")}}
    command = [python, "-W", "ignore", str(CHILD), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])["losses"]


@pytest.mark.parametrize("name", NETS)
def test_losses_of_50_steps_are_those_of_the_plain_graph(
    name: str, oracle: str, tmp_path: Path
) -> None:
    plain, rewritten = files(name, tmp_path)
    start = str(tmp_path / "start")
    expected = train(oracle, name, plain, 50, checkpoint=start)
    assert len(set(expected)) > 40
    for python in (oracle, sys.executable):
        reference = expected if python == oracle else train(python, name, plain, 50, restore=start)
        losses = train(python, name, rewritten, 50, restore=start)
        np.testing.assert_allclose(losses, reference, rtol=1e-3)
