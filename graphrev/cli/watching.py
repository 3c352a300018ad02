"""Options of ``rewrite`` for watching passes at work: dumps, printed changes, a profile."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from graphrev.cli.progress import Stages
from graphrev.errors import OutputError, PassError, UsageError, printable

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--dump-dir", metavar="D", help="Write the graph after each pass that changed it there."
    ),
    click.option("--print-changed", is_flag=True, help="Print what each pass changed."),
    click.option("--profile", metavar="T.json", help="Write the timings as a Chrome trace."),
)


def trace_option(command: FunctionT) -> FunctionT:
    """Adds ``--trace``, given once for the first graph and once more for the second."""
    option = click.option(
        "--trace",
        "traces",
        multiple=True,
        metavar="FILE",
        help="A RunMetadata of a fully traced step: shows measured memory; twice for both graphs.",
    )
    return option(command)


def traced(traces: tuple[str, ...]) -> tuple[str | None, str | None]:
    """The traces of the first and the second graph; ``-`` stands for none.

    Raises:
        UsageError: more than two.
    """
    if len(traces) > 2:
        raise UsageError("--trace: one for the graph before, one for the graph after, no more.")
    given = [None if trace == "-" else trace for trace in (*traces, "-", "-")]
    return given[0], given[1]


def watch_options(command: FunctionT) -> FunctionT:
    """Adds ``--dump-dir``, ``--print-changed`` and ``--profile``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass
class TimedStages:
    """Stages that remember when each began."""

    stages: Stages
    begun: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    def __call__(self, phrase: str) -> None:
        """Begins a stage."""
        self.begun.append((phrase, time.perf_counter()))
        self.stages(phrase)

    def advance(self, done: int, total: int) -> None:
        """Says how much of the stage is done."""
        self.stages.advance(done, total)

    def chrome_trace(self) -> dict[str, Any]:
        """The stages as complete events of Chrome's trace format; times in microseconds."""
        ends = [start for _, start in self.begun[1:]] + [time.perf_counter()]
        first = self.begun[0][1] if self.begun else 0.0
        events = [
            {
                "name": phrase,
                "cat": "graphrev",
                "ph": "X",
                "ts": round((start - first) * 1e6, 1),
                "dur": round((end - start) * 1e6, 1),
                "pid": 1,
                "tid": 1,
            }
            for (phrase, start), end in zip(self.begun, ends)
        ]
        return {"traceEvents": events, "displayTimeUnit": "ms"}


def dump_targets(dump_dir: str | None, count: int) -> list[Path]:
    """Where ``count`` passes may leave their graphs; for checking before anything is done."""
    if dump_dir is None:
        return []
    folder = Path(dump_dir)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--dump-dir '{printable(dump_dir)}' is a file. Name a folder.")
    if not folder.exists():
        return []
    return [folder / _dump_name(number) for number in range(1, count + 1)]


def _dump_name(number: int) -> str:
    return f"after-{number:02d}.pb"


def dump(dump_dir: str, report: Any) -> None:
    """Writes ``after-NN.pb`` for each pass that changed the graph, NN its place in the run."""
    from graphrev.io import encode_graph
    from graphrev.io.writing import write_file

    folder = Path(dump_dir)
    _make_folder(folder)
    for number, step in enumerate(report.steps, 1):
        if step.edits:
            write_file(folder / _dump_name(number), encode_graph(step.after))


@contextmanager
def blaming(dump_dir: str | None, passes: Sequence[str], *, dry_run: bool) -> Generator[None]:
    """Keeps a reproducer of a pass that left an invalid graph behind, or says how to get one."""
    try:
        yield
    except PassError as error:
        step: Any = error.step
        if step is None or dry_run:
            raise
        if dump_dir is None:
            raise _with(error, "Run again with --dump-dir D to keep a reproducer.") from error
        spec = next((p for p in passes if p.partition("{")[0].strip() == step.pass_.name), "")
        _keep(Path(dump_dir), step, spec, "structure")
        raise _with(error, f"A reproducer is in '{printable(dump_dir)}'.") from error


def _with(error: PassError, more: str) -> PassError:
    said = PassError(f"{error} {more}")
    said.step = error.step
    return said


def keep_failure(dump_dir: str | None, passes: Sequence[str], validation: Any) -> None:
    """Keeps a reproducer of a pass whose graphs compute different things."""
    if dump_dir is None or validation is None or validation.failed is None:
        return
    number, step = validation.failed
    _keep(Path(dump_dir), step, passes[int(number) - 1], "numeric")


def _keep(folder: Path, step: Any, spec: str, how: str) -> None:
    """Writes the graphs on either side of a pass, and the command that shows the failure."""
    from graphrev.io import encode_graph
    from graphrev.io.writing import write_file

    _make_folder(folder)
    write_file(folder / "failed-before.pb", encode_graph(step.before))
    write_file(folder / "failed-after.pb", encode_graph(step.after))
    parts = ["graphrev", "rewrite", "failed-before.pb", "-o", "out.pb", "-p", spec]
    command = f"{shlex.join(parts)} --verify={how}\n"
    write_file(folder / "failed-command.txt", command.encode())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = error.strerror or str(error)
        raise OutputError(f"Cannot make the folder '{printable(str(folder))}': {said}.") from error


def print_changed(report: Any, *, err: bool) -> None:
    """Prints the difference each pass made."""
    from graphrev.diff import step_diff

    for number, step in enumerate(report.steps, 1):
        head = f"pass {number}, {step.pass_.name}"
        if not step.edits:
            click.echo(f"{head}: no change", err=err)
            continue
        click.echo(f"{head}:", err=err)
        click.echo(step_diff(step).to_text(), nl=False, err=err)


def write_profile(path: str, stages: TimedStages) -> None:
    """Writes the timings."""
    from graphrev.io.writing import write_file

    write_file(Path(path), (json.dumps(stages.chrome_trace(), indent=1) + "\n").encode())
