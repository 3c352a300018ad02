"""Tokens of the text notation (see :mod:`graphrev.ir.notation`), and errors that say where.

A line is cut into tokens at once, and every character is part of some token: what belongs nowhere
becomes a token of its own that no rule accepts. So columns are only worked out for an error.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator
from typing import NoReturn

from graphrev.errors import InvalidInputError, printable

_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rf'{_QUOTED}|".*|[A-Za-z0-9_.\-][A-Za-z0-9_.\-/+>]*|=>|[^ \t\r]', re.DOTALL)
"""A quote that nothing closes takes the rest of the line."""
_CLOSED = re.compile(_QUOTED, re.DOTALL)
_WORD = re.compile(r"[A-Za-z0-9_.\-]")
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SHORT = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_SHOWN = 40


class Tokens:
    """The tokens of a text, one line at a time; the end of a line is the token ``""``."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._number = -1
        self._tokens = ["", ""]
        self._at = 0

    @property
    def at(self) -> int:
        """Where in its line the token to come is, for :meth:`fail`."""
        return self._at

    def next_line(self) -> bool:
        """Moves on to the next line that is not blank; whether there is one."""
        while self._number + 1 < len(self._lines):
            self._number += 1
            self._tokens, self._at = _TOKEN.findall(self._lines[self._number]), 0
            self._tokens += ("", "")
            if self._tokens[0]:
                return True
        return False

    def peek(self) -> str:
        """The token to come."""
        return self._tokens[self._at]

    def peek_after(self) -> str:
        """The token after the one to come."""
        return self._tokens[self._at + 1] if self.peek() else ""

    def accept(self, token: str) -> bool:
        """Consumes ``token`` if it is the one to come."""
        if self._tokens[self._at] != token:
            return False
        self._at += 1
        return True

    def expect(self, token: str) -> None:
        """Consumes ``token``, or fails."""
        if not self.accept(token):
            self.fail(f"'{token}'")

    def end_line(self) -> None:
        """Fails unless the line is read to its end."""
        if self.peek():
            self.fail("the end of the line")

    def items(self, close: str) -> Iterator[None]:
        """Steps through a comma-separated list, whose items the caller reads, to ``close``."""
        if self.accept(close):
            return
        yield
        while not self.accept(close):
            if not self.accept(","):
                self.fail(f"',' or '{close}'")
            yield

    def fail(self, expected: str, at: int | None = None) -> NoReturn:
        """Raises an error about the token ``at`` (otherwise the one to come)."""
        place = self._at if at is None else at
        line = self._lines[self._number]
        match = next(itertools.islice(_TOKEN.finditer(line), place, None), None)
        column = match.start() if match else len(line.rstrip(" \t\r"))
        found = f"'{printable(match.group(), _SHOWN)}'" if match else "the end of the line"
        raise InvalidInputError(
            f"The notation is wrong at line {self._number + 1}, column {column + 1}: "
            f"expected {expected}, found {found}."
        )

    def name(self, what: str = "a name") -> str:
        """A plain or quoted name."""
        token = self.peek()
        if token.startswith('"'):
            return self.string()
        if not _WORD.match(token):
            self.fail(what)
        self._at += 1
        return token

    def string(self) -> str:
        """A quoted string."""
        token = self.peek()
        if not token.startswith('"'):
            self.fail("a quoted string")
        if not _CLOSED.fullmatch(token):
            self.fail("a string with its closing quote")
        self._at += 1
        if "\\" not in token:
            return token[1:-1]
        try:
            return _ESCAPE.sub(_character, token[1:-1])
        except (KeyError, ValueError):
            self.fail(r"a string with escapes \" \\ \n \r \t \x.. \u.... \U........", self._at - 1)

    def is_integer(self) -> bool:
        """Whether the token to come is a whole number."""
        return _INTEGER.fullmatch(self.peek()) is not None

    def integer(self) -> int:
        """A whole number."""
        if not self.is_integer():
            self.fail("a whole number")
        self._at += 1
        return int(self._tokens[self._at - 1])

    def hex(self) -> bytes:
        """Bytes as a quoted hexadecimal string."""
        spelled = self.string()
        try:
            return bytes.fromhex(spelled)
        except ValueError:
            self.fail("hexadecimal digits in quotes", self._at - 1)

    def base64(self) -> bytes:
        """Bytes as a quoted base64 string."""
        spelled = self.string()
        try:
            return base64.b64decode(spelled, validate=True)
        except ValueError:
            self.fail("base64 in quotes", self._at - 1)

    def latin1(self) -> bytes:
        """Bytes as a quoted string of characters below 256, each one byte."""
        spelled = self.string()
        try:
            return spelled.encode("latin-1")
        except UnicodeEncodeError:
            self.fail(r"bytes: a string of characters up to \xff", self._at - 1)


def _character(escape: re.Match[str]) -> str:
    short: str | None = escape[4]
    if short is not None:
        return _SHORT[short]
    return chr(int(escape[1] or escape[2] or escape[3], 16))
