"""The command answers at once, and TensorFlow is loaded only by what runs graphs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runner import invoke
from tests.conftest import FIXTURES

ROOT = FIXTURES.parents[1]
Capture = pytest.CaptureFixture[str]
CHECK = """
import sys
from graphrev.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert stop.code == 0, stop.code
loaded = [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
assert not loaded, loaded
"""


def python(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["rewrite", "--help"],
        ["passes"],
        ["passes", "--json"],
        ["show", FIXTURES / "frozen.pbtxt"],
        ["inspect", FIXTURES / "widths.meta.gz"],
        ["inspect", FIXTURES / "saved_model", "--json"],
        ["rewrite", FIXTURES / "widths.meta.gz", "-preversible", "-o", "OUT", "--verify=structure"],
    ],
    ids=lambda args: " ".join(Path(str(arg)).name for arg in args),
)
def test_tensorflow_is_not_loaded(args: list[str | Path], tmp_path: Path) -> None:
    done = python("-c", CHECK, *(tmp_path / "o.meta" if a == "OUT" else a for a in args))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_help_answers_in_half_a_second_of_processor_time() -> None:
    times: list[float] = []
    for _ in range(3):
        start = os.times()
        assert python("-m", "graphrev", "--help").returncode == 0
        end = os.times()
        used = end.children_user + end.children_system
        times.append(used - start.children_user - start.children_system)
    assert min(times) < 0.5, times


def test_help_lists_every_command_and_each_has_help(capsys: Capture) -> None:
    listed = invoke(capsys, "--help")
    assert listed.code == 0
    for name in ("passes", "inspect", "rewrite", "verify", "show"):
        assert name in listed.out
        assert invoke(capsys, name, "--help").code == 0


def test_json_is_plain_data(capsys: Capture, tmp_path: Path) -> None:
    source, output = FIXTURES / "widths.meta.gz", tmp_path / "out.meta"
    data = {
        name: json.loads(invoke(capsys, *args, "--json").out)
        for name, args in {
            "passes": ("passes",),
            "inspect": ("inspect", source, "--feed", "x=8,16", "--feed", "label=8"),
            "rewrite": ("rewrite", source, "-o", output, "-p", "reversible"),
        }.items()
    }
    options = {option["name"] for option in data["passes"]["reversible"]["options"]}
    assert {"detect", "random", "anchor_every", "max_drift"} <= options
    assert data["inspect"]["source"] == str(source)
    assert data["rewrite"]["nodes"]["after"] > data["rewrite"]["nodes"]["before"]
    assert output.exists()


def test_without_passes_inspect_suggests_the_rewrite(capsys: Capture) -> None:
    outcome = invoke(capsys, "inspect", FIXTURES / "widths.meta.gz")
    assert outcome.code == 0
    assert "graphrev rewrite IN -o OUT -p 'reversible'" in outcome.out
