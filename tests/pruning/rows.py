"""What a row of the tables is: a statement, what is done, what comes of it.

The tables are read by Python 3.7 as well, where ``tests/oracle`` has contrib answer them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple


class Raises(NamedTuple):
    """An error's type and a piece of its message."""

    kind: type[Exception]
    phrase: str


if TYPE_CHECKING:
    Row = tuple[str, Callable[[], Any], Any]
else:
    Row = tuple
