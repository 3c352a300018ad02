"""Every exception graphrev raises on purpose.

One base class, so that a caller can catch what graphrev says without catching what it did not
foresee. Each class carries the exit code the command line answers with (DESIGN section 6).
"""

from __future__ import annotations

from typing import ClassVar


class GraphrevError(Exception):
    """Base of every error that graphrev raises on purpose; its text is one paragraph."""

    exit_code: ClassVar[int] = 4


class UsageError(GraphrevError):
    """The call is wrong: an unknown pass, option, format or file name."""

    exit_code: ClassVar[int] = 2


class InvalidInputError(GraphrevError):
    """The input cannot be read, or what was read is not a valid graph."""

    exit_code: ClassVar[int] = 3


class InvalidGraphError(InvalidInputError):
    """A graph breaks a structural invariant (see :func:`graphrev.ir.verify`)."""


class OutputError(GraphrevError):
    """The result cannot be written where it was asked for; nothing was half-written."""

    exit_code: ClassVar[int] = 3


class LiveGraphError(GraphrevError):
    """A live ``tf.Graph`` cannot be rewritten, for instance because a session has run it."""

    exit_code: ClassVar[int] = 2


class PassError(GraphrevError):
    """A pass left an invalid graph behind. It is named, and the input is untouched.

    Attributes:
        step: the :class:`graphrev.pipeline.Step` that went wrong, where it is known.
    """

    exit_code: ClassVar[int] = 4
    step: object | None = None


class VerificationError(GraphrevError):
    """Two graphs could not be compared (not: were compared and differ)."""

    exit_code: ClassVar[int] = 3


def printable(text: str, limit: int = 120) -> str:
    """``text`` made safe to print: one line, no control or direction characters, cut to ``limit``.

    Node names come from files and may hold anything; a terminal would obey some of it.
    """
    shown = text if len(text) <= limit else f"{text[: limit - 1]}…"
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else _escaped(char) for char in shown)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
