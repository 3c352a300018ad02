"""``graphrev diff`` and what git and people call around it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graphrev.cli import main

_ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> tuple[str, str]:
    """A training graph and its rewritten form."""
    from graphrev import api

    before = fixtures / "revnet.meta.gz"
    after = tmp_path_factory.mktemp("pair") / "after.meta"
    api.rewrite(before, "reversible").save(after)
    return str(before), str(after)


def test_equal_files_print_nothing(fixtures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = str(fixtures / "frozen.pb"), str(fixtures / "frozen.pbtxt")
    assert _run("diff", *same, "--exit-code") == 0
    assert capsys.readouterr().out == ""


def test_exit_code_tells_of_a_difference(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("diff", *pair) == 0
    assert _run("diff", *pair, "--exit-code") == 1
    out = capsys.readouterr().out
    assert "44 added, 30 changed" in out
    assert "\x1b" not in out


def test_ignore_scope_and_context_narrow_it(
    pair: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("diff", *pair, "--scope", "^stage", "--exit-code") == 0
    assert (
        _run("diff", *pair, "--scope", "stage1", "--ignore", "inputs,device", "--context", "0") == 0
    )
    out = capsys.readouterr().out
    assert "8 added\n" in out
    assert _run("diff", *pair, "--scope", "(") == 2


@pytest.mark.parametrize("form", ["json", "html", "svg"])
def test_the_form_follows_the_name_of_the_file(
    pair: tuple[str, str], tmp_path: Path, form: str
) -> None:
    target = tmp_path / f"out.{form}"
    assert _run("diff", *pair, "-o", str(target)) == 0
    text = target.read_text(encoding="utf-8")
    if form == "json":
        assert json.loads(text)["counts"]["added"] == 44
    assert text.startswith({"json": "{", "html": "<!DOCTYPE html>", "svg": "<svg "}[form])
    assert _run("diff", *pair, "-o", str(target)) == 2
    assert target.read_text(encoding="utf-8") == text


def test_a_file_that_is_no_graph_is_refused(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.pb"
    bad.write_bytes(b"\xff\x00\xff")
    assert _run("diff", pair[0], str(bad)) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_launcher_runs_without_installing(fixtures: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""}
    done = subprocess.run(
        [str(_ROOT / "tools/graphdiff"), str(fixtures / "frozen.pb"), str(fixtures / "frozen.pb")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_diff_does_not_import_tensorflow(fixtures: Path) -> None:
    file = str(fixtures / "frozen.pb")
    code = (
        "import sys; from graphrev.api import diff; "
        f"diff({file!r}, {file!r}).to_html(); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=False).returncode == 0


def test_gr_diff_is_the_function_whatever_was_imported_first() -> None:
    for first in ("import graphrev.diff", "import graphrev.api", "import graphrev.diff.text"):
        code = f"{first}; import graphrev; assert callable(graphrev.diff), graphrev.diff"
        assert subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=False).returncode == 0


def test_rewrite_reports_dumps_prints_and_profiles(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report, trace = tmp_path / "o.meta", tmp_path / "r.html", tmp_path / "t.json"
    dumps = tmp_path / "dumps"
    call = (
        "rewrite", str(fixtures / "revnet.meta.gz"), "-o", str(out), "-p", "reversible",
        "-p", "reversible", "--report", str(report), "--dump-dir", str(dumps),
        "--print-changed", "--profile", str(trace),
    )  # fmt: skip
    assert _run(*call) == 0
    text = capsys.readouterr().out
    assert "44 added, 30 changed" in text and "pass 2, reversible: no change" in text
    assert [file.name for file in dumps.iterdir()] == ["after-01.pb"]
    assert (
        _run("diff", str(out), str(dumps / "after-01.pb"), "--ignore", "entries", "--exit-code")
        == 0
    )
    assert "Pass reversible" in report.read_text(encoding="utf-8")
    events = json.loads(trace.read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert "applying reversible" in names
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)
    before = out.read_bytes()
    assert _run(*call) == 2
    assert out.read_bytes() == before


def test_reduce_keeps_the_failure(
    fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.pbtxt"
    check = "! grep -q MatMul {}"
    assert _run("reduce", str(fixtures / "frozen.pbtxt"), "--check", check, "-o", str(out)) == 0
    assert "4 nodes to 1" in capsys.readouterr().out
    assert "MatMul" in out.read_text()
    assert (
        _run(
            "reduce", str(fixtures / "frozen.pb"), "--check", "true", "-o", str(out), "--overwrite"
        )
        == 2
    )


def _git(folder: Path, *arguments: str) -> str:
    environment = {
        **os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "PYTHONPATH": str(_ROOT),
        "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "e", "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "e",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_git_compares_graphs_as_graphs(
    pair: tuple[str, str], fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _git(tmp_path, "init", "-q", ".")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    attributes = tmp_path / ".git/info/attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("*.png binary\n")
    assert _run("git-config", "--enable") == 0
    assert _run("git-config", "--enable") == 0
    (tmp_path / "a name with spaces.meta").write_bytes(gzip.decompress(Path(pair[0]).read_bytes()))
    shutil.copy(fixtures / "frozen.pb", tmp_path / "m.pb")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    shutil.copy(pair[1], tmp_path / "a name with spaces.meta")
    (tmp_path / "m.pb").write_bytes(b"no graph")
    said = _git(tmp_path, "diff")
    assert "44 added, 30 changed" in said
    assert "Binary files differ (no graph" in said
    assert "graphrev-" not in said
    left_early = subprocess.run(
        "git diff | head -1", cwd=tmp_path, shell=True, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert (len(left_early.stdout.splitlines()), left_early.stderr) == (1, "")
    _git(tmp_path, "commit", "-qam", "two")
    shown = _git(tmp_path, "show")
    assert "\n-gradients/" in shown and "\n+gradients/" in shown and "\n-MatMul = MatMul(" in shown
    assert "new graph of 4 nodes" in _git(
        tmp_path,
        "diff",
        "--ext-diff",
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "HEAD~",
        "--",
        "m.pb",
    )
    assert _run("git-config", "--disable") == 0
    assert attributes.read_text() == "*.png binary\n"
    assert "Binary files" in _git(tmp_path, "show")
    assert _run("git-config") == 2


def test_a_trace_of_either_step_is_shown(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.diff.test_trace import _memory, _metadata, _write

    trace = _write(tmp_path, _metadata(_memory("cpu", (1, 2_000_000))))
    assert _run("diff", *pair, "--trace", "-", "--trace", trace) == 0
    assert "measured peak of a step: ? -> 2 MB" in capsys.readouterr().out
    assert _run("diff", *pair, *["--trace", trace] * 3) == 2
    assert _run("diff", *pair, "--trace", str(tmp_path / "none")) == 2
    assert _run("diff", *pair, "--trace", pair[0]) == 3
    out, report = str(tmp_path / "o.meta"), tmp_path / "r.html"
    call = ("rewrite", pair[0], "-o", out, "-p", "reversible", "--report", str(report))
    assert _run(*call, "--trace", trace) == 0
    assert "Memory of a step (measured)" in report.read_text(encoding="utf-8")


def test_git_gets_colour_for_its_pager(
    pair: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = tmp_path / "a.meta"
    plain.write_bytes(gzip.decompress(Path(pair[0]).read_bytes()))
    call = ("git-diff", "m.meta", str(plain), "1", "100644", pair[1], "2", "100644")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert _run(*call) == 0
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setenv("GIT_PAGER_IN_USE", "true")
    assert _run(*call) == 0
    assert "\x1b[32m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert _run(*call) == 0
    assert "\x1b" not in capsys.readouterr().out
