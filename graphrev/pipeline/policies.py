"""Options that are objects: frozen, callable, and spelled ``name`` or ``name(option=value,…)``."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

from graphrev.errors import UsageError, printable

_SPELLED = re.compile(r"\s*([^()\s]+)\s*(?:\((.*)\)\s*)?", re.S)
PolicyT = TypeVar("PolicyT", bound="Policy")


@dataclass(frozen=True)
class Policy:
    """One choice of a kind; the subclasses of a kind are the choices there are.

    Attributes:
        kind: what is chosen (``criterion``), for messages.
        name: how the choice is spelled.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""

    @classmethod
    def choices(cls: type[PolicyT]) -> dict[str, type[PolicyT]]:
        """The choices by name."""
        found = {cls.name: cls} if cls.name else {}
        for below in cls.__subclasses__():
            found.update(below.choices())
        return found

    @classmethod
    def parse(cls: type[PolicyT], text: str) -> PolicyT:
        """The choice that ``text`` spells.

        Raises:
            UsageError: there is no such choice or option, or a value that does not fit.
        """
        from graphrev.pipeline.spec import nearest, read_options

        match = _SPELLED.fullmatch(text)
        known = cls.choices()
        if match is None or match[1] not in known:
            shown = printable(match[1] if match else text)
            raise UsageError(f"There is no {cls.kind} '{shown}'.{nearest(shown, known)}")
        choice = known[match[1]]
        return choice(**read_options(f"The {cls.kind}", choice, match[2] or ""))

    def __str__(self) -> str:
        """As it is spelled; options at their defaults are left out."""
        given = [
            f"{field.name}={value}"
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{self.name}({','.join(given)})" if given else self.name
