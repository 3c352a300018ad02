"""``graphrev git-diff``: the external diff driver (see ``graphrev git-config``)."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from graphrev.cli.git_blobs import load_blob, say
from graphrev.errors import GraphrevError, printable

_NOTHING = os.devnull


@click.command("git-diff", hidden=True)
@click.argument("path")
@click.argument("versions", nargs=-1)
def command(path: str, versions: tuple[str, ...]) -> None:
    """Print what differs between two versions of PATH, with git's arguments for such a program.

    They are: path, old file, old hash, old mode, new file, new hash, new mode; a path alone is an
    unmerged file; two more arguments tell of a rename.
    """
    if len(versions) < 6:
        say(f"* Unmerged path {printable(path)}\n")
        return
    old_file, new_file = versions[0], versions[3]
    head = f"diff --graphrev a/{printable(path, 1000)} b/{printable(path, 1000)}\n"
    try:
        say(f"{head}{_told(path, old_file, new_file)}")
    except GraphrevError as error:
        say(f"{head}Binary files differ (no graph: {printable(str(error), 400)})\n")


def _told(path: str, old_file: str, new_file: str) -> str:
    from dataclasses import replace

    from graphrev import api

    if _NOTHING in (old_file, new_file):
        added = old_file == _NOTHING
        model = load_blob(new_file if added else old_file, path)
        return f"{'new' if added else 'deleted'} graph of {len(model.graph)} nodes\n"
    before: Any = replace(load_blob(old_file, path), source=f"a/{path}")
    after: Any = replace(load_blob(new_file, path), source=f"b/{path}")
    found = api.diff(before, after)
    if not found:
        return "the same graph in other bytes\n"
    return found.to_text(color=_in_color())


def _in_color() -> bool:
    """Whether a person reads it: a terminal, or the pager that git has put before one."""
    paged = os.environ.get("GIT_PAGER_IN_USE") == "true"
    return (paged or sys.stdout.isatty()) and "NO_COLOR" not in os.environ
