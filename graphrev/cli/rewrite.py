"""``graphrev rewrite``: runs passes over a graph and writes the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphrev.cli.options import (
    feed_option,
    json_flag,
    load_with_progress,
    naming,
    parse_feeds,
    pass_option,
    print_json,
    to_json,
)
from graphrev.cli.progress import Stages
from graphrev.errors import UsageError, printable


@click.command("rewrite")
@click.argument("path", metavar="IN")
@click.option("-o", "--output", metavar="OUT", help="Where to write the result.")
@pass_option
@feed_option
@click.option("--verify", is_flag=True, help="Run both graphs and compare before writing.")
@click.option("--report", metavar="R.json", help="Write the report there.")
@click.option("--dry-run", is_flag=True, help="Do everything but write.")
@click.option("--overwrite", is_flag=True, help="Replace existing files, the input included.")
@json_flag
def command(
    path: str,
    output: str | None,
    passes: tuple[str, ...],
    feeds: tuple[str, ...],
    verify: bool,
    report: str | None,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Rewrite the graph IN by the given passes, in order, and write it to OUT."""
    from graphrev import api

    chosen = api.parse_passes(passes)
    shapes = parse_feeds(feeds)
    _check(path, output, report, bool(chosen), dry_run=dry_run, overwrite=overwrite)
    with naming(path), Stages() as stages:
        model = load_with_progress(path, stages)
        if output is not None:
            _check_fits(model, output)
        result = api.rewrite(model, chosen, feeds=shapes, progress=stages)
        outcome, failed = result.report, False
        if verify:
            stages("verifying: both graphs are run")
            outcome, failed = _verified(model, result, shapes)
        if not dry_run and not failed and output is not None:
            stages("writing")
            result.save(output, overwrite=overwrite)
        if report is not None and not dry_run:
            _write_report(Path(report), outcome)
        data = outcome.to_json() if as_json else None
    _tell(outcome, data, output, dry_run=dry_run, failed=failed)
    return 1 if failed else 0


def _check(
    path: str,
    output: str | None,
    report: str | None,
    any_pass: bool,
    *,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Refuses what cannot work before any time is spent on it."""
    from graphrev.io.writing import check_target

    if not any_pass:
        raise UsageError(
            "Name at least one pass, e.g. -p reversible. 'graphrev passes' lists them."
        )
    if output is None and not dry_run:
        raise UsageError("Say where to write with -o OUT, or use --dry-run.")
    if report is not None and Path(report).suffix != ".json":
        raise UsageError(f"--report '{printable(report)}': write a .json file.")
    if dry_run:
        return
    for target in (output, report):
        if target is not None:
            check_target(Path(target), overwrite=overwrite, inputs=(Path(path),))


def _check_fits(model: Any, output: str) -> None:
    from graphrev.io import check_extension

    check_extension(model, output)


def _verified(model: Any, result: Any, feeds: dict[str, Any]) -> tuple[Any, bool]:
    from dataclasses import replace

    from graphrev import api

    outcome = api.verify(model, result, feeds=feeds)
    return replace(result.report, verification=outcome), not outcome.ok


def _write_report(path: Path, report: Any) -> None:
    from graphrev.io.writing import write_file

    write_file(path, f"{to_json(report.to_json())}\n".encode())


def _tell(report: Any, data: Any, output: str | None, *, dry_run: bool, failed: bool) -> None:
    if data is not None:
        print_json(data)
        return
    click.echo(report.to_text(memory=False))
    if failed:
        click.echo("graphrev: the graphs differ; nothing was written.", err=True)
    elif dry_run:
        click.echo("Dry run: nothing was written.")
    else:
        click.echo(f"Wrote {printable(str(output))}.")
