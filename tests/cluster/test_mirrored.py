"""Rewritten graphs train under ``MirroredStrategy`` in graph mode, on two virtual processors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.mirrored import EXACT, TRAININGS
from tests.cluster.running import ROOT

pytestmark = pytest.mark.slow
Seen = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder: Path = tmp_path_factory.mktemp("mirrored")
    command = [sys.executable, "-m", "tests.cluster.mirrored", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in TRAININGS}


@pytest.mark.parametrize(
    ("plain", "name"),
    [("plain", "live"), ("plain", "decorator"), ("plain", "imported"), ("masked", "all")],
)
def test_losses_are_those_of_the_plain_graph(plain: str, name: str, seen: Seen) -> None:
    expected, found = seen[plain]["losses"], seen[name]["losses"]
    assert expected[-1] < 0.9 * expected[0], "it does not learn: nothing was shown"
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", [n for n, (_, p) in TRAININGS.items() if set(EXACT) <= set(p)])
def test_copies_sit_on_the_device_of_what_they_copy(name: str, seen: Seen) -> None:
    clones = seen[name]["clones"]
    assert {copy for copy, _ in clones} == {f"/replica:0/task:0/device:CPU:{n}" for n in (0, 1)}
    assert [copy for copy, _ in clones] == [origin for _, origin in clones]


@pytest.mark.parametrize("name", ["masked", "all"])
def test_both_replicas_have_the_same_masks(name: str, seen: Seen) -> None:
    """The first and the last kernel are kept dense on both devices."""
    by_device: dict[str, dict[str, Any]] = {}
    for variable, (device, mask) in seen[name]["masks"].items():
        kernel = variable.removesuffix("/mask").removesuffix("/kernel")
        by_device.setdefault(device, {})[kernel] = mask
    first, second = (by_device[f"/replica:0/task:0/device:CPU:{n}"] for n in (0, 1))
    assert len(first) == 9 and first == second
    shares = [sum(map(sum, mask)) / sum(map(len, mask)) for mask in first.values()]
    assert shares == [0.5] * 9
