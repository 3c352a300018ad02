"""Every row of the table, on graphrev over both kinds of layers, and on the oracle.

Each bench is a process of its own: graph mode without TensorFlow 2's behaviour, eager mode, and
``TF_USE_LEGACY_KERAS`` have to be settled before TensorFlow is imported.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.layers.network.table import ANY, TABLE, Better, ByMode, Raises
from tools.oracle import find_oracle

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODES = ("graph", "eager")
HAS_TF_KERAS = importlib.util.find_spec("tf_keras") is not None
NEEDS_TF_KERAS = {name for name in TABLE if "batch_normalization" in name}


@functools.cache
def _answers(python: str, kind: str, mode: str) -> dict[str, Any]:
    legacy = "1" if kind == "tf_keras" else "0"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TF_USE_LEGACY_KERAS": legacy,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if kind == "contrib":
        del environment["PYTHONPATH"]
        environment.pop("TF2_BEHAVIOR", None)
    command = [python, str(HERE / "run_rows.py"), kind, mode]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


_oracle = functools.cache(find_oracle)


def _check(got: Any, want: Any) -> None:
    if want is ANY:
        return
    if isinstance(want, Raises):
        assert isinstance(got, dict), got
        assert want.kind in got["raises"], got
        assert want.phrase in got["message"], got
    else:
        assert got == want


def _want(name: str, mode: str, *, contrib: bool) -> Any:
    want = TABLE[name]
    if isinstance(want, Better):
        want = want.contrib if contrib else want.ours
    return getattr(want, mode) if isinstance(want, ByMode) else want


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["core", "tf_keras"])
@pytest.mark.parametrize("name", TABLE)
def test_row(name: str, kind: str, mode: str) -> None:
    if not HAS_TF_KERAS and (kind == "tf_keras" or name in NEEDS_TF_KERAS):
        pytest.skip("tf_keras, which has the legacy layers, is not installed")
    _check(_answers(sys.executable, kind, mode)[name], _want(name, mode, contrib=False))


@pytest.mark.oracle
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TABLE)
def test_row_on_the_oracle(name: str, mode: str) -> None:
    python, reason = _oracle()
    if python is None:
        pytest.skip(reason)
    _check(_answers(str(python), "contrib", mode)[name], _want(name, mode, contrib=True))


def test_every_row_is_in_the_table() -> None:
    assert set(_answers(sys.executable, "core", "graph")) == set(TABLE)


@pytest.mark.parametrize("mode", MODES)
def test_every_deliberate_error_is_a_graphrev_error(mode: str) -> None:
    ours = {name for name, want in TABLE.items() if isinstance(want, Raises)}
    theirs = {
        "scope_name_before_the_call",
        "input_shape",
        "output_shape",
        "count_params_unbuilt",
        "restore_of_a_missing_key",
        "restore_from_nowhere",
    }
    answers = _answers(sys.executable, "core", mode)
    for name in ours - theirs:
        # Keras may raise an error that passed through a layer's call anew, as the plain type.
        assert "GraphrevError" in answers[name]["raises"], name
