"""What is killed while it writes: each writer makes one of two contents of its target."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphrev import api

FIXTURES = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
_SPECS = ("reversible{detect=structural}", "clean-scopes")


@dataclass(frozen=True)
class Writer:
    """Writes the old or the new content of a target.

    Attributes:
        write: called with the target and 0 or 1.
        read: a digest of what is there; ``None`` for nothing; raises where it is not whole.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], str | None]


def _file(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _folder(path: Path) -> str | None:
    if not path.exists():
        return None
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        digest.update(f"{file.relative_to(path)}\0".encode())
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


def _variables(path: Path) -> str | None:
    """All values of a checkpoint, read by TensorFlow."""
    if not path.with_name(f"{path.name}.index").exists():
        return None
    from graphrev.io.checkpoints import read_checkpoint

    values = read_checkpoint(path)
    joined = b"".join(name.encode() + values[name].tobytes() for name in sorted(values))
    return hashlib.sha256(joined).hexdigest()


def _saving(source: str) -> Callable[[Path, int], None]:
    results = [api.rewrite(FIXTURES / source, spec) for spec in _SPECS]
    return lambda path, which: results[which].save(path, overwrite=True)


def _report() -> Callable[[Path, int], None]:
    from graphrev.io.writing import write_file

    model = api.load(FIXTURES / "sums.meta.gz")
    pages = [api.diff(model, api.rewrite(model, s)).to_html().encode() for s in _SPECS]
    return lambda path, which: write_file(path, pages[which])


def _checkpoint() -> Callable[[Path, int], None]:
    import numpy as np
    import tensorflow  # noqa: F401  (once, before the children are forked)

    from graphrev.io.checkpoints import write_checkpoint

    values: list[dict[str, Any]] = [
        {f"layer{i}/kernel": np.full((64, 64), i + 100 * w, np.float32) for i in range(8)}
        for w in (0, 1)
    ]
    return lambda path, which: write_checkpoint(path, values[which])


def _command() -> Callable[[Path, int], None]:
    """The whole command, which writes a graph and then the report on it."""
    from graphrev.cli import main

    def write(path: Path, which: int) -> None:
        report, source = path.with_suffix(".html"), FIXTURES / "sums.meta.gz"
        given = [str(source), "-o", str(path), "-p", _SPECS[which], "--report", str(report)]
        silent = redirect_stdout(io.StringIO())
        with silent, redirect_stderr(io.StringIO()), suppress(SystemExit):
            main(["rewrite", *given, "--overwrite", "--verify=off"])

    return write


def _both(path: Path) -> str | None:
    """The graph; the report beside it must be whole as well."""
    report = path.with_suffix(".html")
    if report.exists() and not report.read_text().rstrip().endswith("</html>"):
        raise ValueError("half a report")
    return _file(path)


KINDS: Mapping[str, Callable[[], Writer]] = MappingProxyType(
    {
        "graph.pb": lambda: Writer(_saving("sums.meta.gz"), _file),
        "graph.pbtxt": lambda: Writer(_saving("split1.meta.gz"), _file),
        "graph.meta": lambda: Writer(_saving("sums.meta.gz"), _file),
        "model": lambda: Writer(_saving("saved_model"), _folder),
        "command.meta": lambda: Writer(_command(), _both),
        "report.html": lambda: Writer(_report(), _file),
        "checkpoint": lambda: Writer(_checkpoint(), _variables),
    }
)
"""Writers by the name of their target."""
