"""``graphrev git-textconv``: a file as text, for git (see ``graphrev git-config``)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from graphrev.cli.git_blobs import load_blob, say
from graphrev.errors import GraphrevError, printable


@click.command("git-textconv", hidden=True)
@click.argument("file", metavar="FILE")
def command(file: str) -> None:
    """Print FILE as git should compare it; a file that holds no graph by its hash."""
    from graphrev.diff.textconv import textconv

    try:
        lines = list(textconv(load_blob(file, file)))
    except GraphrevError as error:
        data = Path(file).read_bytes()
        lines = [f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"]
        lines.append(f"(no graph: {printable(type(error).__name__)})")
    say("".join(f"{line}\n" for line in lines))
