"""Killed writers, full disks and forbidden folders: the old content or the whole new one is there.

``python -m tools.interrupt`` is the long run.
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow

from graphrev.errors import OutputError
from graphrev.io.checkpoints import read_checkpoint, write_checkpoint
from graphrev.io.writing import write_file, write_folder
from tools.interrupt.__main__ import in_child, kill_at_each_line, kill_writes
from tools.interrupt.writers import KINDS

tf: Any = tensorflow.compat.v1
_QUICK = [kind for kind in KINDS if kind != "checkpoint"]


@pytest.mark.parametrize("kind", _QUICK)
def test_a_killed_writer_leaves_the_old_or_the_whole_new(kind: str, tmp_path: Path) -> None:
    outcome = kill_writes(kind, 8, 0, tmp_path)
    assert outcome.faults == []
    assert outcome.kills == sum(outcome.states[state] for state in ("old", "new"))


@pytest.mark.parametrize("kind", ["graph.pb", "model"])
def test_a_writer_killed_before_any_of_its_lines_leaves_the_old_or_the_whole_new(
    kind: str, tmp_path: Path
) -> None:
    _check_each_line(kind, tmp_path)


@pytest.mark.slow
def test_a_writer_of_a_checkpoint_killed_before_any_of_its_lines_leaves_a_whole_one(
    tmp_path: Path,
) -> None:
    _check_each_line("checkpoint", tmp_path)


def _check_each_line(kind: str, folder: Path) -> None:
    outcome = kill_at_each_line(kind, folder)
    assert outcome.faults == []
    assert outcome.interrupted > 0 and outcome.states["old"] > 0 and outcome.states["new"] > 0


class Killed(BaseException):
    """Stands for a SIGKILL at a chosen place."""


def _kill_after(moves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets so many files be moved, and no more."""
    real, left = os.replace, [moves]

    def replace(source: object, target: object) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("moves", range(4))
def test_a_checkpoint_is_whole_after_each_of_its_moves(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = ({"a": np.full(3, n), "b": np.full(2, 10.0 * n)} for n in (1, 2))
    write_checkpoint(tmp_path / "c", old)
    _kill_after(moves, monkeypatch)
    try:
        write_checkpoint(tmp_path / "c", new)
    except Killed:
        assert read_checkpoint(tmp_path / "c")["a"].tolist() == [1, 1, 1]
    else:
        assert moves == 3
    monkeypatch.undo()
    write_checkpoint(tmp_path / "c", new)
    found = read_checkpoint(tmp_path / "c")
    assert found["a"].tolist() == [2, 2, 2] and found["b"].tolist() == [20.0, 20.0]
    assert len({path.name.rpartition("-")[2] for path in tmp_path.glob("c.data-*")}) == 1
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_that_was_replaced_many_times_leaves_no_litter(tmp_path: Path) -> None:
    for number in range(4):
        write_checkpoint(tmp_path / "c", {"a": np.full(2, number), "b": np.zeros(1)})
        assert read_checkpoint(tmp_path / "c")["a"].tolist() == [number] * 2
    assert len(list(tmp_path.iterdir())) <= 3


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1,), ()], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_a_checkpoint_of_one_variable_is_replaced(
    shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    """Each time as a whole; every reader sees one variable."""
    values = [np.arange(3 * n, 3 * n + np.prod(shape)).reshape(shape).astype(dtype) for n in (0, 1)]
    for number in (0, 1, 0, 1):
        write_checkpoint(tmp_path / "c", {"a": values[number]})
        found = read_checkpoint(tmp_path / "c")
        assert list(found) == ["a"] and found["a"].dtype == values[number].dtype
        np.testing.assert_array_equal(found["a"], values[number])
        with tf.Graph().as_default(), tf.Session() as session:
            restored = tf.get_variable("a", shape, values[number].dtype)
            tf.train.Saver().restore(session, str(tmp_path / "c"))
            np.testing.assert_array_equal(session.run(restored), values[number])
    assert len(list(tmp_path.iterdir())) <= 3


@pytest.mark.parametrize("moves", range(4))
def test_a_checkpoint_of_one_variable_is_whole_after_each_of_its_moves(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "c", {"a": np.zeros((1, 4))})
    _kill_after(moves, monkeypatch)
    try:
        write_checkpoint(tmp_path / "c", {"a": np.ones((1, 4))})
    except Killed:
        assert not read_checkpoint(tmp_path / "c")["a"].any()
    else:
        assert moves == 3 and read_checkpoint(tmp_path / "c")["a"].all()


def _limited(write: object, largest: int) -> None:
    """Runs ``write`` where no file may grow beyond ``largest`` bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    with pytest.raises(OutputError, match="Nothing was changed"):
        write()  # type: ignore[operator]


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out.pb"
    target.write_bytes(b"precious")
    in_child(lambda: _limited(lambda: write_file(target, b"n" * 100_000), 10_000))
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out.pb"]


def test_a_folder_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "part").write_bytes(b"precious")

    def fill(folder: Path) -> None:
        (folder / "part").write_bytes(b"n" * 100_000)

    in_child(lambda: _limited(lambda: write_folder(target, fill), 10_000))
    assert (target / "part").read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["model"]


def test_a_pipe_behind_a_link_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "out.pb").symlink_to(pipe)
    with pytest.raises(OutputError, match="device or pipe"):
        write_file(tmp_path / "out.pb", b"x")
    assert pipe.is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["out.pb", "pipe"]


def test_a_folder_is_never_missing_where_the_system_can_exchange_two(tmp_path: Path) -> None:
    target, seen = tmp_path / "model", list[bool]()
    real = os.replace

    def fill(folder: Path) -> None:
        (folder / "part").write_bytes(b"new")

    write_folder(target, fill)
    os.replace = lambda *paths: (real(*paths), seen.append(target.exists()))  # type: ignore[assignment]
    try:
        write_folder(target, fill)
    finally:
        os.replace = real
    assert all(seen)
    assert os.listdir(tmp_path) == ["model"]


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """As another user: this one may write everywhere."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)

    def write() -> None:
        os.chdir(folder)
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        for target in (Path("out.pb"), folder / "out.pb"):
            with pytest.raises(OutputError, match="Permission denied"):
                write_file(target, b"x")

    in_child(write)
    assert os.listdir(folder) == []
