"""Reads the files that git hands to a diff driver, blobs under temporary names, and answers."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from graphrev.errors import GraphrevError, printable


def say(text: str) -> None:
    """Prints; a pager that was left early is no failure, or git would call it one."""
    try:
        click.echo(text, nl=False, color=True)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_blob(file: str, path: str) -> Any:
    """The model in ``file``, a version of ``path`` in the repository.

    Raises:
        GraphrevError: it holds no graph.
    """
    from graphrev.io import files

    name = Path(path).name
    with tempfile.TemporaryDirectory(prefix="graphrev-") as folder:
        copy = Path(folder) / (_saved_model(name) or f"blob{_suffixes(name)}")
        shutil.copyfile(file, copy)
        try:
            return files.load(copy)
        except GraphrevError as error:
            said = str(error).replace(printable(str(copy)), printable(name))
            raise type(error)(said) from None


def _saved_model(name: str) -> str | None:
    """Git puts random letters before the name, in some versions."""
    return "saved_model.pb" if name.endswith("saved_model.pb") else None


def _suffixes(name: str) -> str:
    suffixes = Path(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
