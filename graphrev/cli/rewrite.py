"""``graphrev rewrite``: runs passes over a graph and writes the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from graphrev.cli import watching
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
from graphrev.cli.watching import watch_options
from graphrev.errors import UsageError, printable


class _Rewrite(click.Command):
    """``--verify`` alone stands for ``--verify=numeric`` and never takes the next argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments."""
        return super().parse_args(ctx, ["--verify=numeric" if a == "--verify" else a for a in args])


@click.command("rewrite", cls=_Rewrite)
@click.argument("path", metavar="IN")
@click.option("-o", "--output", metavar="OUT", help="Where to write the result.")
@pass_option
@feed_option
@click.option(
    "--verify",
    "asked",
    type=click.Choice(["off", "structure", "numeric"]),
    help="How to validate before writing. numeric (--verify alone): run both graphs and compare. "
    "By default numeric where that takes seconds, else structure; the report says which.",
)
@click.option("--report", metavar="R.html|R.json", help="Write the report there.")
@click.option("--dry-run", is_flag=True, help="Do everything but write.")
@click.option("--overwrite", is_flag=True, help="Replace existing files, the input included.")
@watch_options
@watching.trace_option
@json_flag
def command(
    path: str,
    output: str | None,
    passes: tuple[str, ...],
    feeds: tuple[str, ...],
    asked: Any,
    report: str | None,
    dry_run: bool,
    overwrite: bool,
    dump_dir: str | None,
    print_changed: bool,
    profile: str | None,
    traces: tuple[str, ...],
    as_json: bool,
) -> int:
    """Rewrite the graph IN by the given passes, in order, and write it to OUT."""
    from graphrev import api

    chosen = api.parse_passes(passes)
    shapes = parse_feeds(feeds)
    _check(path, output, report, bool(chosen), dry_run=dry_run, overwrite=overwrite)
    beside = [*watching.dump_targets(dump_dir, len(chosen)), *([Path(profile)] if profile else [])]
    _check_beside(beside, path, dry_run=dry_run, overwrite=overwrite)
    with naming(path), Stages() as shown:
        stages = watching.TimedStages(shown)
        model = load_with_progress(path, stages)
        if output is not None:
            _check_fits(model, output, chosen)
        with watching.blaming(dump_dir, passes, dry_run=dry_run):
            result = api.rewrite(model, chosen, feeds=shapes, progress=stages)
        stages("verifying")
        outcome, failed = _validated(result.report, asked)
        if not dry_run and not failed and output is not None:
            stages("writing")
            result.save(output, overwrite=overwrite)
        if not dry_run:
            stages("writing reports")
            _write_beside(outcome, model, result, report, dump_dir, traces)
            watching.keep_failure(dump_dir, passes, outcome.validation)
        data = outcome.to_json() if as_json else None
    if profile is not None and not dry_run:
        watching.write_profile(profile, stages)
    if print_changed:
        watching.print_changed(outcome, err=as_json)
    _tell(outcome, data, output, dump_dir, dry_run=dry_run, failed=failed)
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
    if report is not None and Path(report).suffix not in (".json", ".html"):
        raise UsageError(f"--report '{printable(report)}': write a .html or .json file.")
    if dry_run:
        return
    for target in (output, report):
        if target is not None:
            check_target(Path(target), overwrite=overwrite, inputs=(Path(path),))


def _check_fits(model: Any, output: str, passes: Sequence[Any]) -> None:
    from graphrev.io import check_extension

    if output.endswith(".meta") and any(getattr(pass_, "unfreeze", False) for pass_ in passes):
        return  # A graph that is unfrozen is given the collections it had.
    check_extension(model, output)


def _validated(report: Any, asked: Any) -> tuple[Any, bool]:
    from dataclasses import replace

    from graphrev.verification import validate

    outcome = validate(report.run, asked, feeds=report.feeds, targets=report.targets)
    return replace(report, validation=outcome), not outcome.ok


def _check_beside(targets: list[Path], path: str, *, dry_run: bool, overwrite: bool) -> None:
    from graphrev.io.writing import check_target

    for target in () if dry_run else targets:
        check_target(target, overwrite=overwrite, inputs=(Path(path),))


def _write_beside(
    outcome: Any,
    model: Any,
    result: Any,
    report: str | None,
    dump_dir: str | None,
    traces: tuple[str, ...],
) -> None:
    """Writes the report and the graphs between passes."""
    from graphrev.io.writing import write_file

    if report is not None:
        text = _report_text(Path(report), outcome, model, result, traces)
        write_file(Path(report), text.encode())
    if dump_dir is not None:
        watching.dump(dump_dir, outcome)


def _report_text(path: Path, outcome: Any, model: Any, result: Any, traces: tuple[str, ...]) -> str:
    if path.suffix == ".json":
        return f"{to_json(outcome.to_json())}\n"
    from graphrev import api

    said = outcome.validation.to_text()
    found = api.diff(model, result).with_traces(*watching.traced(traces))
    return found.to_html(verification=said)


def _tell(
    report: Any,
    data: Any,
    output: str | None,
    dump_dir: str | None,
    *,
    dry_run: bool,
    failed: bool,
) -> None:
    if data is not None:
        print_json(data)
        return
    click.echo(report.to_text(memory=False))
    if failed:
        number, step = report.validation.failed
        kept = "" if dump_dir else " Run again with --dump-dir D to keep a reproducer."
        click.echo(
            f"graphrev: the graphs differ since pass {number}, '{step.pass_.name}'; the target was "
            f"not written.{kept}",
            err=True,
        )
    elif dry_run:
        click.echo("Dry run: nothing was written.")
    else:
        click.echo(f"Wrote {printable(str(output))}.")
