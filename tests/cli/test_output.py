"""What is written is the old file or the whole new one, where asked, and only then."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from graphrev import load
from tests.cli.runner import assert_refused, invoke
from tests.conftest import FIXTURES

Capture = pytest.CaptureFixture[str]
PASS = ("-p", "reversible")
WIDTHS = FIXTURES / "widths.meta.gz"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dry_run_writes_nothing(capsys: Capture, tmp_path: Path) -> None:
    output, report = tmp_path / "out.meta", tmp_path / "r.json"
    args = ("rewrite", WIDTHS, "-o", output, "--report", report, *PASS, "--dry-run")
    outcome = invoke(capsys, *args)
    assert (outcome.code, names(tmp_path)) == (0, [])
    assert "nothing was written" in outcome.out


def test_a_rewrite_writes_the_result_and_its_report(capsys: Capture, tmp_path: Path) -> None:
    output, report = tmp_path / "out.meta", tmp_path / "r.json"
    outcome = invoke(capsys, "rewrite", WIDTHS, "-o", output, "--report", report, *PASS)
    assert (outcome.code, names(tmp_path)) == (0, ["out.meta", "r.json"])
    data = json.loads(report.read_text())
    assert data["nodes"]["after"] == len(load(output).graph) > data["nodes"]["before"]


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_the_input_is_only_overwritten_when_asked(
    kind: str, capsys: Capture, tmp_path: Path
) -> None:
    source = tmp_path / ("model" if kind == "folder" else "in.pb")
    if kind == "folder":
        shutil.copytree(FIXTURES / "saved_model", source)
    else:
        shutil.copy(FIXTURES / "frozen.pb", source)
    output = source
    if kind == "link":
        output = tmp_path / "link.pb"
        output.symlink_to(source)
    file = source / "saved_model.pb" if kind == "folder" else source
    before = file.read_bytes()
    refused = invoke(capsys, "rewrite", source, "-o", output, *PASS)
    assert_refused(refused, 2, output.name, "--overwrite")
    assert file.read_bytes() == before
    assert invoke(capsys, "rewrite", source, "-o", output, *PASS, "--overwrite").code == 0
    assert (file.read_bytes() != before) == (kind == "folder")
    assert output.is_symlink() == (kind == "link")
    assert not [name for name in names(tmp_path) if "graphrev" in name]


def test_an_existing_output_is_left_alone(capsys: Capture, tmp_path: Path) -> None:
    output = tmp_path / "out.pb"
    output.write_bytes(b"precious")
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", output, *PASS)
    assert_refused(invoke(capsys, *args), 2, "out.pb", "--overwrite")
    assert output.read_bytes() == b"precious"
    assert invoke(capsys, *args, "--overwrite").code == 0
    assert len(load(output).graph) == 4


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_folder_in_the_place_of_the_output_is_refused(
    overwrite: tuple[str, ...], capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "out.pb").mkdir()
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS, *overwrite)
    assert_refused(invoke(capsys, *args), 3 if overwrite else 2, "out.pb")
    assert names(tmp_path) == ["out.pb"]


def test_a_file_in_the_place_of_an_output_folder_is_refused(
    capsys: Capture, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    args = ("rewrite", FIXTURES / "saved_model", "-o", tmp_path / "out", *PASS, "--overwrite")
    assert_refused(invoke(capsys, *args), 3, "out", "file")
    assert (tmp_path / "out").read_bytes() == b"precious"
    assert names(tmp_path) == ["out"]


def test_a_saved_model_is_not_written_into_itself(capsys: Capture, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "model")
    args = ("rewrite", tmp_path / "model", "-o", tmp_path / "model" / "out", *PASS)
    assert_refused(invoke(capsys, *args), 2, "inside the input folder")
    assert names(tmp_path / "model") == names(FIXTURES / "saved_model")


def test_a_missing_folder_is_named_inertly(capsys: Capture, tmp_path: Path) -> None:
    output = tmp_path / "no\x1b[31mwhere" / "out.pb"
    outcome = invoke(capsys, "rewrite", FIXTURES / "frozen.pb", "-o", output, *PASS)
    assert_refused(outcome, 3, "no\\x1b[31mwhere", "Make it")


def test_links_are_followed_and_a_link_to_itself_refused(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out.pb").symlink_to(tmp_path / "real" / "out.pb")
    args = ("rewrite", FIXTURES / "frozen.pb", *PASS, "--overwrite", "-o")
    assert invoke(capsys, *args, tmp_path / "out.pb").code == 0
    assert (tmp_path / "out.pb").is_symlink()
    assert names(tmp_path / "real") == ["out.pb"]
    (tmp_path / "loop.pb").symlink_to(tmp_path / "loop.pb")
    assert_refused(invoke(capsys, *args, tmp_path / "loop.pb"), 3, "loop.pb")


class FullDisk:
    """Fails with ENOSPC the n-th time it is called, and every time after."""

    def __init__(self, real: Any, after: int = 0) -> None:
        self.real, self.after = real, after

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.after -= 1
        if self.after < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(*args, **kwargs)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_the_old_file(
    call: str, exists: bool, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.pb"
    if exists:
        output.write_bytes(b"precious")
    monkeypatch.setattr(os, call, FullDisk(getattr(os, call)))
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", output, *PASS, "--overwrite")
    assert_refused(invoke(capsys, *args), 3, "out.pb", "No space left")
    assert names(tmp_path) == (["out.pb"] if exists else [])
    assert not exists or output.read_bytes() == b"precious"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("after", range(4))
def test_a_full_disk_leaves_the_old_folder(
    call: str, after: int, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FIXTURES / "saved_model", tmp_path / "model")
    old = (tmp_path / "model" / "saved_model.pb").read_bytes()
    real = getattr(os, call)
    monkeypatch.setattr("graphrev.io.writing._swapped", lambda *_: False)
    monkeypatch.setattr(os, call, FullDisk(real, after))
    args = ("rewrite", tmp_path / "model", "-o", tmp_path / "model", *PASS, "--overwrite")
    outcome = invoke(capsys, *args)
    monkeypatch.setattr(os, call, real)
    if outcome.code:
        assert_refused(outcome, 3, "model", "No space left")
    if names(tmp_path) != ["model"]:
        # Not even setting it back was possible: the next run does it.
        assert call == "replace" and after == 1
        assert len(load(tmp_path / "model").graph) > 0
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == names(FIXTURES / "saved_model")
    new = (tmp_path / "model" / "saved_model.pb").read_bytes()
    assert (new == old) == (outcome.code != 0)


def test_an_unwritable_folder_is_named(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = open

    def refusing(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "x" in mode or "w" in mode:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refusing)
    outcome = invoke(capsys, "rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS)
    assert_refused(outcome, 3, "out.pb", "Permission denied")
    assert names(tmp_path) == []


def test_the_temporary_file_is_a_sibling_and_synced_before_the_rename(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(handle: int) -> None:
        events.append("sync")
        fsync(handle)

    def noting_replace(source: Any, target: Any) -> None:
        assert Path(source).parent == Path(target).parent == tmp_path
        assert len(load(FIXTURES / "frozen.pb").graph) == 4
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS)
    assert invoke(capsys, *args).code == 0
    assert events == ["sync", "rename", "sync"]


def test_the_next_run_removes_what_a_killed_one_left(capsys: Capture, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    dead = tmp_path / f".out.pb.graphrev-{gone.pid}-0badcafe"
    same = tmp_path / f".out.pb.graphrev-{os.getpid()}-0badcafe"
    living = tmp_path / f".out.pb.graphrev-{os.getppid()}-0badcafe"
    foreign = tmp_path / ".out.pb.graphrev-notes"
    for path in (dead, same, living, foreign):
        path.write_bytes(b"half")
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS)
    assert invoke(capsys, *args).code == 0
    assert names(tmp_path) == sorted([living.name, foreign.name, "out.pb"])


def test_a_saved_model_set_aside_by_a_killed_run_is_found_again(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    shutil.copytree(FIXTURES / "saved_model", tmp_path / f".model.graphrev-{gone.pid}-0badcafe-old")
    (tmp_path / f".model.graphrev-{gone.pid}-0badcafe").mkdir()
    assert len(load(tmp_path / "model").graph) > 0
    assert names(tmp_path) == ["model"]


def test_an_interrupted_run_says_so(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphrev.api.rewrite", interrupted)
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS)
    outcome = invoke(capsys, *args)
    assert (outcome.code, outcome.out) == (130, "")
    # click ends the line that shows ^C first.
    assert outcome.err == "\ngraphrev: interrupted; nothing was written.\n"
    assert names(tmp_path) == []


def test_an_unforeseen_fault_is_one_line_and_exit_4(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("odd\n\x1b[31m")

    monkeypatch.setattr("graphrev.api.rewrite", broken)
    monkeypatch.delenv("GRAPHREV_DEBUG", raising=False)
    args = ("rewrite", FIXTURES / "frozen.pb", "-o", tmp_path / "out.pb", *PASS)
    assert_refused(invoke(capsys, *args), 4, "RuntimeError", "GRAPHREV_DEBUG")
