"""Writes files so that there is always the old one or the whole new one.

A temporary file in the target's own folder is written, synced and renamed over the target; a
leftover of a killed run is recognised by its name and removed by the next one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from graphrev.errors import OutputError, UsageError, printable

_MARK = ".graphrev-"


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuses a target that may not be written.

    Args:
        inputs: files that were read; they are only overwritten when ``overwrite`` is set.

    Raises:
        UsageError: the target exists, or is one of ``inputs``, and ``overwrite`` is not set.
        OutputError: its folder does not exist.
    """
    shown = printable(str(path))
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write '{shown}': there is no folder '{path.parent}'. Make it.")
    if overwrite:
        return
    if any(path.exists() and source.exists() and path.samefile(source) for source in inputs):
        raise UsageError(
            f"'{shown}' is the input. Give another output, or --overwrite to replace it."
        )
    if path.exists() or path.is_symlink():
        raise UsageError(f"'{shown}' exists. Give another output, or --overwrite to replace it.")


def write_file(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path``, whole or not at all.

    Raises:
        OutputError: the folder is not writable, the disk is full, the target is a folder.
    """
    target = path.resolve() if path.is_symlink() else path
    if target.is_dir():
        raise OutputError(f"Cannot write '{printable(str(path))}': it is a folder.")

    def write(temporary: Path) -> None:
        with open(temporary, "xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)

    _guarded(target, write, lambda temporary: temporary.unlink(missing_ok=True))


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Makes the folder ``path`` with what ``fill`` puts into it, whole or not at all.

    An existing folder is set aside first and removed once the new one is in its place.

    Raises:
        OutputError: the parent is not writable, or the disk is full.
    """

    def write(temporary: Path) -> None:
        temporary.mkdir()
        fill(temporary)
        _sync_tree(temporary)
        aside = temporary.with_name(f"{temporary.name}-old")
        if path.exists():
            os.replace(path, aside)
        os.replace(temporary, path)
        shutil.rmtree(aside, ignore_errors=True)

    _guarded(path, write, lambda temporary: shutil.rmtree(temporary, ignore_errors=True))


def _guarded(target: Path, write: Callable[[Path], None], clean: Callable[[Path], None]) -> None:
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        write(temporary)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write '{printable(str(target))}': {error.strerror or error}. "
            "Nothing was changed there; free some space or give another output."
        ) from error
    finally:
        if temporary.exists():
            clean(temporary)


def remove_leftovers(target: Path) -> None:
    """Removes temporary files that a killed run left beside ``target``; a living run keeps its."""
    prefix = f".{target.name}{_MARK}"
    if not target.parent.is_dir():
        return
    for entry in target.parent.iterdir():
        if not entry.name.startswith(prefix):
            continue
        process, _, rest = entry.name[len(prefix) :].partition("-")
        if process.isdigit() and _is_running(int(process)):
            continue
        if rest.endswith("-old") and entry.is_dir() and not target.exists():
            os.replace(entry, target)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
