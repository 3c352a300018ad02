"""``graphrev reduce``: shrinks a graph for which a command fails."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from graphrev.cli.options import load_with_progress
from graphrev.cli.progress import Stages
from graphrev.errors import UsageError, printable


@click.command("reduce")
@click.argument("path", metavar="IN")
@click.option(
    "--check",
    "check",
    required=True,
    metavar="CMD",
    help="Fails (exit code not 0) on IN; {} stands for the file, else it is appended.",
)
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write the result.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@click.option(
    "--timeout", type=float, metavar="SECONDS", help="A longer run of CMD counts as success."
)
def command(path: str, check: str, output: str, overwrite: bool, timeout: float | None) -> None:
    """Write to OUT the smallest graph found, made from IN, for which CMD still fails."""
    from graphrev.diff.reduction import reduce_graph
    from graphrev.io import check_extension, files
    from graphrev.io.writing import check_target

    check_target(Path(output), overwrite=overwrite, inputs=(Path(path),))
    with Stages() as stages, tempfile.TemporaryDirectory(prefix="graphrev-reduce-") as folder:
        model = load_with_progress(path, stages)
        check_extension(model, output)
        trial = _Trial(model, check, Path(folder), Path(output).suffix, timeout, stages)
        if not trial.fails(model.graph):
            raise UsageError(
                f"The command succeeds on '{printable(path)}' as it is: {printable(check)}. There "
                "is no failure to keep while shrinking."
            )
        graph = reduce_graph(model.graph, trial.fails)
        files.save(replace(model, graph=graph), output)
    click.echo(
        f"{len(model.graph)} nodes to {len(graph)} in {trial.runs} runs of the command; wrote "
        f"{printable(output)}."
    )


@dataclass
class _Trial:
    """Runs the command on candidates."""

    model: Any
    check: str
    folder: Path
    suffix: str
    timeout: float | None
    stages: Stages
    runs: int = 0

    def fails(self, graph: Any) -> bool:
        """Whether the command fails on ``graph``."""
        from graphrev.io import files

        self.runs += 1
        self.stages(f"run {self.runs}: {len(graph)} nodes")
        file = self.folder / f"candidate{self.suffix}"
        files.save(replace(self.model, graph=graph), file)
        quoted = shlex.quote(str(file))
        filled = self.check.replace("{}", quoted)
        line = filled if filled != self.check else f"{self.check} {quoted}"
        try:
            done = subprocess.run(
                line, shell=True, capture_output=True, check=False, timeout=self.timeout
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode != 0
