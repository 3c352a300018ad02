"""What a row of the tables is: a statement, what is done, what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Raises(NamedTuple):
    """An error's type and a piece of its message."""

    kind: type[Exception]
    phrase: str


Row = tuple[str, Callable[[], Any], Any]
