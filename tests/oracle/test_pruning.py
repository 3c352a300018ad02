"""One program for model_pruning, run by TensorFlow 1.15.5's contrib and by ``graphrev.pruning``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.runner import invoke
from tools.oracle import environment, find_oracle

pytestmark = pytest.mark.oracle
CHILD = Path(__file__).with_name("prune_child.py")
STEPS = 34


def run(python: str, **job: Any) -> dict[str, Any]:
    command = [python, "-W", "ignore", str(CHILD), json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def oracle() -> str:
    python, why = find_oracle()
    if python is None:
        pytest.skip(why)
    return str(python)


@pytest.fixture(scope="module")
def both(oracle: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    saved = str(tmp_path_factory.mktemp("job") / "half")
    run(oracle, steps=STEPS // 2, save=saved)
    return run(oracle, steps=STEPS), run(sys.executable, steps=STEPS), saved


@pytest.mark.parametrize(
    "what", ["names", "get_masks", "get_thresholds", "get_weights", "get_masked_weights"]
)
def test_names_are_contribs(what: str, both: tuple[Any, Any, str]) -> None:
    contrib, ours, _ = both
    assert ours[what] == contrib[what]


def test_zeros_at_every_step_are_contribs(both: tuple[Any, Any, str]) -> None:
    contrib, ours, _ = both
    assert ours["zeros"] == contrib["zeros"]
    assert len(set(map(tuple, ours["zeros"]))) > 8


def test_thresholds_and_losses_are_contribs(both: tuple[Any, Any, str]) -> None:
    contrib, ours, _ = both
    np.testing.assert_allclose(ours["thresholds"], contrib["thresholds"], atol=2e-5)
    np.testing.assert_allclose(ours["losses"], contrib["losses"], rtol=1e-4)


def test_checkpoint_of_contrib_is_trained_on(both: tuple[Any, Any, str]) -> None:
    contrib, _, saved = both
    resumed = run(sys.executable, steps=STEPS - STEPS // 2, restore=saved)
    assert resumed["zeros"] == contrib["zeros"][STEPS // 2 :]


def test_checkpoint_of_contrib_is_reported(both: tuple[Any, Any, str], capsys: Any) -> None:
    contrib, _, saved = both
    outcome = invoke(capsys, "checkpoint", saved, "--sparsity", "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["kernels"]
    assert [row["kernel"] for row in rows] == contrib["get_weights"]
    assert [row["zeros"] for row in rows] == contrib["zeros"][STEPS // 2 - 1]
