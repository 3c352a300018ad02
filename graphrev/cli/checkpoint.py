"""``graphrev checkpoint``: the checkpoints of a masked graph, dense to masked and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from graphrev.cli.options import load_with_progress, print_json
from graphrev.cli.progress import Stages
from graphrev.errors import UsageError, printable


@click.command("checkpoint")
@click.argument("prefix", metavar="[PREFIX]", required=False)
@click.option(
    "-g", "--graph", "graph", metavar="MASKED", help="The masked graph; PREFIX.meta by default."
)
@click.option("-o", "--output", metavar="OUT", help="The prefix of the checkpoint to write.")
@click.option(
    "--to",
    "kind",
    type=click.Choice(["masked", "dense"]),
    help="What to write; without it the other of the two.",
)
@click.option(
    "--masks",
    "start",
    type=click.Choice(["ones", "zeros"]),
    default="ones",
    help="New masks keep all weights (ones), or drop those that are 0 (zeros).",
)
@click.option("--sparsity", "only_report", is_flag=True, help="Report only; write no checkpoint.")
@click.option(
    "--freeze", metavar="NAME,…", help="Write the frozen graph of these outputs, without masks."
)
@click.option("--format", "form", type=click.Choice(["v1", "v2"]), help="As the input, by default.")
@click.option("--logdir", metavar="DIR", help="Write the sparsity as TensorBoard scalars.")
@click.option("--overwrite", is_flag=True, help="Replace an existing checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prefix: str | None,
    graph: str | None,
    output: str | None,
    kind: str | None,
    start: Any,
    only_report: bool,
    freeze: str | None,
    form: Any,
    logdir: str | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Report how sparse the checkpoint PREFIX of a masked graph is, and convert it to OUT.

    A dense checkpoint gets masks, a masked one has them multiplied into its kernels. Without PREFIX
    the values that the graph's variables start with are taken, or the constants of a frozen graph.
    PREFIX may be a folder, also that of a running job: its newest checkpoint is taken.
    With --freeze OUT is a .pb file: what the named outputs need, variables and masks as constants.
    Exits with 1 when the schedule has ended and a kernel missed its target.
    """
    from graphrev.io import checkpoints
    from graphrev.passes.mask import checkpoints as masks
    from graphrev.passes.mask.sparsity import missed

    if kind is not None and output is None:
        raise UsageError("Say where to write with -o PREFIX.")
    if only_report and output is not None:
        raise UsageError("--sparsity only reports; leave out -o, or --sparsity.")
    prefix = prefix and checkpoints.newest(prefix)
    if freeze is not None:
        _write_frozen(prefix, freeze, output, overwrite=overwrite)
        return 0
    graph = graph or _graph_beside(prefix)
    form = form or (checkpoints.format_of(prefix) if prefix else "v2")
    if output is not None:
        _check(output, form, prefix, overwrite=overwrite)
    with Stages() as stages:
        loaded = _masked(load_with_progress(graph, stages))
        if prefix is None and output is None and (frozen := _frozen(loaded)):
            _tell(frozen, (), None, as_json=as_json)
            return 0
        about = masks.MaskedGraph(loaded)
        stages("reading the checkpoint")
        values = checkpoints.read_checkpoint(prefix) if prefix else about.initial()
        rows = about.sparsity(values)
        ended = about.ended(values)
        if output is not None:
            stages("writing")
            made = _converted(about, values, kind, start, given=prefix is not None)
            checkpoints.write_checkpoint(output, made, form)
    late = missed(rows) if ended else ()
    if logdir is not None:
        _write_scalars(logdir, rows, values)
    _tell(rows, late, output, as_json=as_json)
    return 1 if late else 0


def _write_frozen(prefix: str | None, outputs: str, output: str | None, *, overwrite: bool) -> None:
    """Writes a checkpoint's graph, frozen and without masks: contrib's ``strip_pruning_vars``."""
    from graphrev.io.writing import check_target, write_file

    names = [name for name in outputs.replace(" ", "").split(",") if name]
    if prefix is None or output is None or not names:
        raise UsageError("--freeze takes a checkpoint, the names of outputs, and -o FILE.pb.")
    meta, target = Path(_graph_beside(prefix)), Path(output)
    check_target(target, overwrite=overwrite, inputs=(meta,))

    import tensorflow as tf

    from graphrev.pruning import strip_pruning_vars_lib as strip

    try:
        stripped = strip.strip_pruning_vars_fn(strip.frozen(prefix, names), names)
    except (tf.errors.OpError, ValueError, OSError) as error:
        if isinstance(error, UsageError):
            raise
        said = printable(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise UsageError(f"'{printable(prefix)}' cannot be frozen: {said}.") from None
    write_file(target, stripped.SerializeToString(deterministic=True))
    click.echo(f"Wrote {printable(output)}.")


def _graph_beside(prefix: str | None) -> str:
    """The graph that ``Saver.save`` wrote beside a checkpoint."""
    if prefix is None:
        raise UsageError("Give a checkpoint, or the masked graph with -g.")
    path = Path(f"{prefix}.meta")
    if not path.is_file():
        raise UsageError(f"There is no '{printable(str(path))}'. Give the masked graph with -g.")
    return str(path)


def _masked(model: Any) -> Any:
    """The graph, marked where contrib masked it."""
    from graphrev.passes.mask import contrib

    if model.envelope is None:
        return model.graph
    collections = {name: model.envelope.collection(name) for name in contrib.COLLECTIONS}
    return contrib.with_marks(model.graph, collections)


def _frozen(graph: Any) -> Any:
    """The kernels of a graph without variables."""
    from graphrev.analysis.ops import is_variable
    from graphrev.passes.mask.sparsity import constant_sparsity

    if any(is_variable(node.op) for node in graph.nodes.values()):
        return ()
    return constant_sparsity(graph)


def _check(output: str, form: Any, prefix: str | None, *, overwrite: bool) -> None:
    from graphrev.io import checkpoints
    from graphrev.io.writing import check_target

    inputs = () if prefix is None else checkpoints.written_files(prefix, form)
    for target in checkpoints.written_files(output, form):
        check_target(target, overwrite=overwrite, inputs=inputs)


def _converted(about: Any, values: Any, kind: str | None, start: Any, *, given: bool) -> Any:
    masked = about.has_masks(values)
    kind = kind or ("dense" if masked and given else "masked")
    if kind == "dense":
        return about.dense(values)
    return values if masked and not given else about.masked(values, start)


def _write_scalars(logdir: str, rows: Any, values: Any) -> None:
    """One scalar per kernel and one for all, at the checkpoint's global step."""
    import tensorflow as tf

    from graphrev.passes.mask.sparsity import total

    step = values.get("global_step", 0)
    events: Any = tf.compat.v1.summary
    with tf.Graph().as_default():
        writer = events.FileWriter(logdir)
        for row in (*rows, total(rows)):
            share = row.zeros / row.weights if row.weights else 0.0
            value = tf.compat.v1.Summary.Value(tag=f"sparsity/{row.kernel}", simple_value=share)
            writer.add_summary(tf.compat.v1.Summary(value=[value]), int(step))
        writer.close()


def _tell(rows: Any, late: Any, output: str | None, *, as_json: bool) -> None:
    from graphrev.passes.mask.sparsity import total

    if as_json:
        print_json(
            {
                "kernels": [_json(row) for row in rows],
                "total": _json(total(rows)),
                "missed": [row.kernel for row in late],
                "written": output,
            }
        )
    else:
        _print_table((*rows, total(rows)))
        if output is not None:
            click.echo(f"Wrote {printable(output)}.")
    if late:
        names = ", ".join(f"'{printable(r.kernel)}' ({r.zeros} of {r.target})" for r in late[:5])
        click.echo(
            f"graphrev: the schedule has ended and {len(late)} kernels missed their target number "
            f"of zeros: {names}.",
            err=True,
        )


def _json(row: Any) -> dict[str, Any]:
    return {
        "kernel": row.kernel,
        "weights": row.weights,
        "zeros": row.zeros,
        "sparsity": row.zeros / row.weights if row.weights else 0.0,
        "target_zeros": row.target,
    }


def _print_table(rows: Any) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kernel", box=None, pad_edge=False)
    for header in ("weights", "zeros", "sparsity", "target"):
        table.add_column(header, justify="right")
    for row in rows:
        share = row.zeros / row.weights if row.weights else 0.0
        target = "" if row.target is None else str(row.target)
        name = Text(printable(row.kernel))
        table.add_row(name, str(row.weights), str(row.zeros), f"{share:.2%}", target)
    Console(soft_wrap=True, highlight=False).print(table)
