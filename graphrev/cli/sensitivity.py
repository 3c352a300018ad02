"""``graphrev sensitivity``: the loss as one kernel at a time is pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphrev.cli.options import json_flag, load_with_progress, parse_feeds, print_json
from graphrev.cli.progress import Stages
from graphrev.errors import UsageError, printable

_WIDEST = 4000


@click.command("sensitivity")
@click.argument("graph", metavar="GRAPH")
@click.option("--loss", required=True, metavar="NAME", help="The tensor to watch; its mean counts.")
@click.option("--checkpoint", metavar="PREFIX", help="Read the variables from this checkpoint.")
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    metavar="NAME=FILE.npy|SHAPE",
    help="What is fed: an array, or a shape to draw random values of (repeatable).",
)
@click.option("--levels", metavar="S,S,…", help="Shares to drop; 0 to 0.9 by default.")
@click.option(
    "--sparsity", type=float, metavar="S", help="Also make targets for the kernels, S in all."
)
@click.option("-o", "--output", metavar="OUT.html|OUT.json", help="Write a page, or the targets.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@json_flag
def command(
    graph: str,
    loss: str,
    checkpoint: str | None,
    feeds: tuple[str, ...],
    levels: str | None,
    sparsity: float | None,
    output: str | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Report the loss of GRAPH while each kernel in turn loses its smallest weights.

    GRAPH is frozen, or its variables come from a checkpoint. With --sparsity each kernel gets a
    target that raises the loss as much as any other's; 'mask{targets=OUT.json}' reads them.
    """
    from graphrev.io import checkpoints
    from graphrev.verification import sensitivity as scans

    fed = _fed(feeds)
    steps = scans.LEVELS if levels is None else _levels(levels)
    if output is not None:
        _check(output, overwrite=overwrite, inputs=[graph])
    with Stages() as stages:
        model = load_with_progress(graph, stages)
        prefix = checkpoint and checkpoints.newest(checkpoint)
        values = checkpoints.read_checkpoint(prefix) if prefix else None
        stages("pruning one kernel at a time")
        found = scans.scan(
            model.graph,
            loss,
            feeds=fed,
            variables=values,
            levels=steps,
            progress=stages.advance,
        )
    data = found.to_json(sparsity)
    if output is not None:
        _write(output, data, graph)
    if as_json:
        print_json(data)
    else:
        _print_table(data)
        if output is not None:
            click.echo(f"Wrote {printable(output)}.")
    return 0


def _fed(feeds: tuple[str, ...]) -> dict[str, Any]:
    """Arrays from files, shapes from what is spelled.

    Raises:
        UsageError: a file holds no array, or the option has another form.
    """
    import numpy as np

    from graphrev.ir import Shape

    files = tuple(feed for feed in feeds if feed.endswith(".npy"))
    found: dict[str, Any] = {
        name: Shape(dims)
        for name, dims in parse_feeds(tuple(f for f in feeds if f not in files)).items()
    }
    for feed in files:
        name, _, path = feed.partition("=")
        try:
            found[name] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"--feed '{printable(feed)}': {printable(str(error), 200)}") from None
    return found


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--levels '{printable(text)}' is no list of numbers: 0,0.5,0.9."
        ) from None


def _check(output: str, *, overwrite: bool, inputs: list[str]) -> None:
    from graphrev.io.writing import check_target

    if Path(output).suffix not in (".html", ".json"):
        raise UsageError(f"'{printable(output)}' is neither .html nor .json.")
    check_target(Path(output), overwrite=overwrite, inputs=tuple(map(Path, inputs)))


def _write(output: str, data: dict[str, Any], graph: str) -> None:
    from graphrev.cli.options import to_json
    from graphrev.diff.html.curves import render_curves
    from graphrev.io.writing import write_file

    page = output.endswith(".html")
    text = render_curves(data, Path(graph).name) if page else to_json(data) + "\n"
    write_file(Path(output), text.encode("utf-8"))


def _print_table(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kernel", box=None, pad_edge=False)
    for header in ("weights", *(f"{100 * level:.4g}%" for level in data["levels"])):
        table.add_column(header, justify="right")
    targets = [entry.rpartition(":")[2] for entry in data.get("targets", ())]
    if targets:
        table.add_column("target", justify="right")
    for place, kernel in enumerate(data["kernels"]):
        size = 1
        for dim in kernel["shape"]:
            size *= dim
        cells = [str(size), *(f"{loss:.4g}" for loss in kernel["losses"])]
        cells += [f"{float(targets[place]):.1%}"] if targets else []
        table.add_row(Text(printable(kernel["kernel"])), *cells)
    # As wide as it needs to be: in a pipe a number cut short would be a wrong one.
    Console(soft_wrap=True, highlight=False, width=_WIDEST).print(table)
    click.echo(f"{printable(data['loss'])} with every kernel whole: {data['dense']:.4g}")
