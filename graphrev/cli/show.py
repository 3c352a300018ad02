"""``graphrev show``: prints a graph in the text notation."""

from __future__ import annotations

import click

from graphrev.cli.options import load_with_progress, naming
from graphrev.cli.progress import Stages


@click.command("show")
@click.argument("path", metavar="IN")
def command(path: str) -> None:
    """Print the graph IN in the text notation, one node a line."""
    from graphrev.ir.notation import to_text

    with naming(path), Stages() as stages:
        model = load_with_progress(path, stages)
        text = to_text(model.graph)
    click.echo(text, nl=False)
