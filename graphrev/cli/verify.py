"""``graphrev verify``: runs two graphs and compares what they compute."""

from __future__ import annotations

import click

from graphrev.cli.options import feed_option, json_flag, load_with_progress, parse_feeds, print_json
from graphrev.cli.progress import Stages


@click.command("verify")
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@feed_option
@click.option(
    "--fetch", "fetches", multiple=True, metavar="NAME", help="Compare this (repeatable)."
)
@click.option("--checkpoint", metavar="PREFIX", help="Read the variables from this checkpoint.")
@click.option("--rtol", type=float, help="Allowed relative L2 error.")
@click.option("--atol", type=float, help="Allowed absolute error (root mean square).")
@json_flag
def command(
    before: str,
    after: str,
    feeds: tuple[str, ...],
    fetches: tuple[str, ...],
    checkpoint: str | None,
    rtol: float | None,
    atol: float | None,
    as_json: bool,
) -> int:
    """Run BEFORE and AFTER on the same feeds, variables and random state, and compare.

    Exits with 1 when they differ.
    """
    from graphrev import api

    shapes = parse_feeds(feeds)
    with Stages() as stages:
        first = load_with_progress(before, stages)
        second = load_with_progress(after, stages)
        stages("running both graphs")
        outcome = api.verify(
            first,
            second,
            feeds=shapes,
            fetches=fetches,
            checkpoint=checkpoint,
            rtol=rtol,
            atol=atol,
        )
    if as_json:
        print_json(outcome.to_json())
    else:
        click.echo(outcome.to_text())
    return 0 if outcome.ok else 1
