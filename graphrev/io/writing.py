"""Writes files so that there is always the old one or the whole new one.

A temporary file in the target's own folder is written, synced and renamed over the target; a
leftover of a killed run is recognised by its name and removed by the next one. A folder cannot be
renamed over another: Linux can exchange the two in one step (renameat2); elsewhere the old one is
set aside first, and a run killed between the two renames is healed by the next one, which puts it
back.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from graphrev.errors import OutputError, UsageError, printable

_MARK = ".graphrev-"
_LONGEST = 180
"""Bytes of a target's name that still leave room for a temporary name's ending."""
_ASIDE = "-old"
_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux (uapi/linux/fcntl.h, uapi/linux/fs.h)."""
_being_written: set[str] = set()
"""Temporary names of this process: its number alone would also fit a killed run's."""


def check_target(path: Path, *, overwrite: bool, inputs: tuple[Path, ...] = ()) -> None:
    """Refuses a target that may not be written.

    Args:
        inputs: files that were read; they are only overwritten when ``overwrite`` is set.

    Raises:
        UsageError: the target exists, or is one of ``inputs``, and ``overwrite`` is not set.
        OutputError: its folder does not exist.
    """
    shown = printable(str(path))
    if not os.path.isdir(path.parent):
        raise OutputError(
            f"Cannot write '{shown}': there is no folder '{printable(str(path.parent))}'. Make it."
        )
    if overwrite:
        return
    there = os.path.exists(path)
    if any(there and os.path.exists(source) and path.samefile(source) for source in inputs):
        raise UsageError(
            f"'{shown}' is the input. Give another output, or --overwrite to replace it."
        )
    if os.path.lexists(path):
        raise UsageError(f"'{shown}' exists. Give another output, or --overwrite to replace it.")


def write_file(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path``, whole or not at all; of a symlink, to what it points to.

    Raises:
        OutputError: the folder is not writable, the disk is full, the target is a folder or a
            device.
    """
    target = _behind_links(path)
    if os.path.exists(target) and not os.path.isfile(target):
        kind = "folder" if os.path.isdir(target) else "device or pipe"
        raise OutputError(
            f"Cannot write '{printable(str(path))}': it is a {kind}. Give the name of a file."
        )

    def write(temporary: Path) -> None:
        with open(temporary, "xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)

    _guarded(target, write)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Makes the folder ``path`` with what ``fill`` puts into it, whole or not at all.

    An existing folder is set aside first and removed once the new one is in its place.

    Raises:
        OutputError: the parent is not writable, the disk is full, the target is a file.
    """
    target = _behind_links(path)
    if os.path.exists(target) and not os.path.isdir(target):
        raise OutputError(
            f"Cannot write '{printable(str(path))}': it is a file, and the result is a folder. "
            "Give another output."
        )

    def write(temporary: Path) -> None:
        temporary.mkdir()
        fill(temporary)
        sync_tree(temporary)
        if target.exists() and _swapped(temporary, target):
            return
        aside = temporary.with_name(f"{temporary.name}{_ASIDE}")
        if target.exists():
            os.replace(target, aside)
        try:
            os.replace(temporary, target)
        except OSError:
            if aside.exists():
                os.replace(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)

    _guarded(target, write)


def _swapped(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step, where the system and the file system can."""
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return exchange(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


@contextmanager
def scratch_folder(target: Path) -> Generator[Path]:
    """A folder beside ``target`` for what is on its way there, removed in the end.

    What a killed run left is removed by the next one for the same target.

    Raises:
        OSError: the folder cannot be made.
    """
    name = _temporary_name(target)
    folder = target.with_name(name)
    _being_written.add(name)
    try:
        remove_leftovers(target)
        folder.mkdir()
        yield folder
    finally:
        _remove(folder)
        _being_written.discard(name)


def _temporary_name(target: Path) -> str:
    return f"{_prefix(target)}{os.getpid()}-{secrets.token_hex(4)}"


def _behind_links(path: Path) -> Path:
    if not os.path.islink(path):
        return path
    try:
        return path.resolve(strict=False)
    except (OSError, RuntimeError):
        raise OutputError(
            f"Cannot write '{printable(str(path))}': it is a link to itself. Remove it."
        ) from None


def _guarded(target: Path, write: Callable[[Path], None]) -> None:
    name = _temporary_name(target)
    temporary = target.with_name(name)
    _being_written.add(name)
    try:
        remove_leftovers(target)
        write(temporary)
    except OSError as error:
        raise OutputError(
            f"Cannot write '{printable(str(target))}': {printable(error.strerror or str(error))}. "
            "Nothing was changed there; free some space or give another output."
        ) from error
    finally:
        _remove(temporary)
        _being_written.discard(name)
    # The new content is in place and synced; its folder's entry may still be the old one after a
    # power cut, which is whole too. Some file systems cannot sync a folder.
    with suppress(OSError):
        _sync_folder(target.parent)


def _remove(path: Path) -> None:
    """Removes a file or folder as far as possible: a leftover is no reason to fail."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _prefix(target: Path) -> str:
    """What temporary names of ``target`` start with; short, since a name may have 255 bytes."""
    name = target.name
    if len(name.encode()) > _LONGEST:
        name = f"{name[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f".{name}{_MARK}"


def remove_leftovers(target: Path) -> None:
    """Removes temporary files that a killed run left beside ``target``; a living run keeps its.

    A folder that was set aside is put back when nothing took its place.
    """
    prefix = _prefix(target)
    try:
        entries = [entry for entry in target.parent.iterdir() if entry.name.startswith(prefix)]
    except (OSError, ValueError):
        return
    for entry in sorted(entries):
        process = entry.name[len(prefix) :].partition("-")[0]
        if not process.isdigit() or _is_living(entry.name.removesuffix(_ASIDE), int(process)):
            continue
        if entry.name.endswith(_ASIDE) and not os.path.lexists(target):
            os.replace(entry, target)
        else:
            _remove(entry)


def _is_living(name: str, process: int) -> bool:
    if process == os.getpid():
        return name in _being_written
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
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


def sync_tree(folder: Path) -> None:
    """Has everything in a folder written to the disk."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            _sync_folder(path)
        elif path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    _sync_folder(folder)
