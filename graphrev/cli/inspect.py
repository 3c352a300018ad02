"""``graphrev inspect``: what would be rewritten, what not and why, and the predicted peak."""

from __future__ import annotations

import click

from graphrev.cli.options import (
    feed_option,
    json_flag,
    load_with_progress,
    naming,
    parse_feeds,
    pass_option,
    print_json,
)
from graphrev.cli.progress import Stages


@click.command("inspect")
@click.argument("path", metavar="IN")
@pass_option
@feed_option
@json_flag
def command(path: str, passes: tuple[str, ...], feeds: tuple[str, ...], as_json: bool) -> None:
    """Say what would be rewritten in IN, what not and why, and the predicted peak memory.

    Without -p the reversible pass is tried: on marked pairs where the graph has marks, else by
    structure.
    """
    from graphrev import api
    from graphrev.ir.marks import pair_marks

    shapes = parse_feeds(feeds)
    chosen: tuple[api.PassLike, ...] = api.parse_passes(passes)
    with naming(path), Stages() as stages:
        model = load_with_progress(path, stages)
        if not chosen:
            marked = any(pair_marks(node) for node in model.graph.nodes.values())
            chosen = ("reversible" if marked else "reversible{detect=structural}",)
        report = api.analyze(model, chosen, feeds=shapes, progress=stages)
        stages("predicting memory")
        text = "" if as_json else report.to_text()
        data = report.to_json() if as_json else None
    if as_json:
        print_json(data)
        return
    click.echo(text)
    if not passes and report.changed:
        click.echo(f"to rewrite: graphrev rewrite IN -o OUT -p '{chosen[0]}'")
