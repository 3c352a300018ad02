"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from graphrev.errors import InvalidInputError, UsageError, printable

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
feed_option = click.option(
    "--feed",
    "feeds",
    multiple=True,
    metavar="NAME=SHAPE",
    help="Shape of what is fed, e.g. x=64,32,32,3 (repeatable).",
)
pass_option = click.option(
    "-p",
    "--pass",
    "passes",
    multiple=True,
    metavar="PASS",
    help="A pass, e.g. reversible or 'reversible{detect=structural}' (repeatable).",
)


def parse_feeds(feeds: tuple[str, ...]) -> dict[str, tuple[int | None, ...]]:
    """``NAME=SHAPE`` options as shapes by name; sizes are separated by commas or x.

    Raises:
        UsageError: an option has another form.
    """
    found: dict[str, tuple[int | None, ...]] = {}
    for feed in feeds:
        name, equals, spelled = feed.rpartition("=")
        inner = spelled.strip().strip("[]()")
        parts = [part.strip() for part in inner.replace("x", ",").split(",") if part.strip()]
        valid = all(part.isascii() and part.isdigit() for part in parts)
        if not equals or not name or not valid:
            raise UsageError(
                f"--feed '{printable(feed)}' is not NAME=SHAPE. Write --feed x=64,32,32,3 "
                "(nothing after '=' for a scalar)."
            )
        found[name] = tuple(int(part) for part in parts)
    return found


def to_json(data: Any) -> str:
    """Plain data as JSON, keys in the order they were made; hostile text is escaped.

    JSON has no infinity and no NaN: they are written as strings, ``"inf"``, ``"-inf"``, ``"nan"``.
    """
    return json.dumps(_spelled(data), indent=2, ensure_ascii=True, allow_nan=False)


def _spelled(data: Any) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return str(float(data))
    if isinstance(data, dict):
        items = cast("dict[str, Any]", data)
        return {key: _spelled(value) for key, value in items.items()}
    if isinstance(data, list | tuple):
        return [_spelled(item) for item in cast("Sequence[Any]", data)]
    return data


def print_json(data: Any) -> None:
    """Prints plain data as JSON (see :func:`to_json`)."""
    click.echo(to_json(data))


@contextmanager
def naming(path: str) -> Generator[None]:
    """Puts the file's name before what is said about an input that turns out to be invalid."""
    try:
        yield
    except InvalidInputError as error:
        shown = f"'{printable(path)}'"
        if str(error).startswith(shown):
            raise
        raise type(error)(f"{shown}: {error}") from None


def load_with_progress(path: str, stages: Any) -> Any:
    """Loads a model, showing how much was read."""
    from graphrev.io import files

    stages(f"reading {printable(Path(path).name)}")
    return files.load(path, stages.advance)
