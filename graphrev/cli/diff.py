"""``graphrev diff``: what differs between two graphs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from graphrev.cli.options import feed_option, load_with_progress, parse_feeds, to_json
from graphrev.cli.progress import Stages
from graphrev.cli.watching import trace_option, traced


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html", "svg"]),
    help="How to show it (default: as the extension of FILE says, else text).",
)
@click.option("-o", "--output", metavar="FILE", help="Write it there instead of printing it.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--context",
    type=click.IntRange(0, 10),
    default=1,
    metavar="N",
    show_default=True,
    help="Show unchanged nodes up to N edges away.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when something differs.")
@click.option("--scope", metavar="REGEX", help="Compare only nodes whose name it is found in.")
@click.option(
    "--ignore",
    metavar="WHAT,…",
    default="",
    help="Leave out device, inputs, controls, attrs, functions, entries, or attributes by name.",
)
@feed_option
@trace_option
def command(
    before: str,
    after: str,
    form: str | None,
    output: str | None,
    overwrite: bool,
    context: int,
    exit_code: bool,
    scope: str | None,
    ignore: str,
    feeds: tuple[str, ...],
    traces: tuple[str, ...],
) -> int:
    """Say what differs between the graphs A and B.

    Files of any format may be compared: .pb, .pbtxt, .meta (also .gz) or a SavedModel folder.
    """
    from graphrev import api
    from graphrev.io.writing import check_target, write_file

    chosen = form or _form_of(output)
    if output is not None:
        inputs = (Path(before), Path(after))
        check_target(Path(output), overwrite=overwrite, inputs=inputs)
    ignored = tuple(part.strip() for part in ignore.split(",") if part.strip())
    with Stages() as stages:
        first = load_with_progress(before, stages)
        second = load_with_progress(after, stages)
        stages("comparing")
        found = api.diff(first, second, feeds=parse_feeds(feeds), ignore=ignored, scope=scope)
        found = found.with_traces(*traced(traces))
        text = rendered(found, chosen, context, color=output is None and _in_color())
    if output is None:
        click.echo(text, nl=False, color=True)
    else:
        write_file(Path(output), text.encode("utf-8"))
    return 1 if exit_code and found else 0


def _form_of(output: str | None) -> str:
    kinds = {".json": "json", ".html": "html", ".htm": "html", ".svg": "svg"}
    return kinds.get(Path(output or "").suffix.lower(), "text")


def rendered(found: Any, form: str, context: int, *, color: bool = False) -> str:
    """A difference in one of the formats."""
    if form == "json":
        return f"{to_json(found.to_json())}\n"
    if form == "html":
        return str(found.to_html(context=context))
    if form == "svg":
        return str(found.to_svg(context=context))
    return str(found.to_text(context=context, color=color))


def _in_color() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
