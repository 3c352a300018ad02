"""Pass descriptions as text: ``reversible{detect=structural,anchor_every=4}``.

A pass is a frozen dataclass; its fields are the options, read by their types.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from graphrev.errors import UsageError, printable
from graphrev.pipeline.passes import Pass
from graphrev.pipeline.policies import Policy

_OPTION = re.compile(r"(?:[^,(\[\"]|\([^)]*\)|\[[^\]]*\]|\"[^\"]*\")+")
_SPEC = re.compile(r"\s*([^{}\s]+)\s*(?:\{(.*)\}\s*)?", re.S)


def parse_pass(text: str, registry: Mapping[str, type[Pass[Any]]]) -> Pass[Any]:
    """The pass that ``text`` describes.

    Args:
        text: a name, or a name with options: ``name{key=value,flag}``; several values of one
            option are separated by ``;``.
        registry: the passes there are, by name.

    Raises:
        UsageError: no such pass or option (the nearest is named), or a value that does not fit.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise UsageError(f"'{printable(text)}' is no pass. Write name or name{{option=value,…}}.")
    name, options = match.groups()
    if name not in registry:
        raise UsageError(f"There is no pass '{printable(name)}'.{nearest(name, registry)}")
    kind = registry[name]
    return kind(**read_options("The pass", kind, options or ""))


def read_options(what: str, kind: Any, options: str) -> dict[str, Any]:
    """The fields of the dataclass ``kind`` that ``options`` (``key=value,…``) gives.

    Args:
        what: what has the options, for messages ("The pass").

    Raises:
        UsageError: there is no such option, or a value does not fit.
    """
    name = kind.name
    types_ = get_type_hints(kind)
    known = {f.name: types_[f.name] for f in fields(kind)}
    given: dict[str, Any] = {}
    for key, value in _split(name, options):
        if key not in known:
            raise UsageError(
                f"{what} '{name}' has no option '{printable(key)}'.{nearest(key, known)}"
            )
        if key in given:
            raise UsageError(f"{what} '{name}' is given the option '{key}' twice.")
        given[key] = _read(name, key, known[key], value)
    return given


def _split(pass_name: str, options: str) -> Iterable[tuple[str, str | None]]:
    """``key=value`` pairs; commas inside brackets or quotes of a value do not separate."""
    unclosed = _OPTION.sub("", options).strip(",")
    if unclosed:
        raise UsageError(
            f"The options of '{pass_name}' hold a '{printable(unclosed[0])}' that is never closed: "
            f"{printable(options)}"
        )
    for part in _OPTION.findall(options):
        key, equals, value = part.partition("=")
        if key.strip():
            yield key.strip(), value.strip().strip('"') if equals else None


def nearest(name: str, known: Iterable[str]) -> str:
    """What the user may have meant, as a sentence to append."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There {'is' if len(names) == 1 else 'are'}: {', '.join(names)}."


def _read(pass_name: str, key: str, kind: Any, value: str | None) -> Any:
    where = f"{pass_name}{{{key}=…}}"
    if kind is bool:
        return _boolean(where, value)
    if value is None:
        raise UsageError(f"{where} needs a value.")
    if (policy := _policy(kind)) is not None:
        return policy.parse(value)
    if get_origin(kind) is Literal:
        return _choice(where, value, [str(choice) for choice in get_args(kind)])
    if get_origin(kind) in (Union, types.UnionType):
        if value == "none":
            return None
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in value.split(";") if part.strip())
    return _number(where, kind, value)


def _policy(kind: Any) -> type[Policy] | None:
    """The kind of object among the types of an option, if there is one."""
    kinds = (kind, *get_args(kind))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Policy)), None)


def _boolean(where: str, value: str | None) -> bool:
    spelled = {"true": True, "false": False, "1": True, "0": False, None: True}
    key = value.lower() if value is not None else None
    if key not in spelled:
        raise UsageError(f"{where} takes true or false, not '{printable(str(value))}'.")
    return spelled[key]


def _choice(where: str, value: str, choices: list[str]) -> str:
    if value not in choices:
        raise UsageError(f"{where} cannot be '{printable(value)}'.{nearest(value, choices)}")
    return value


def _number(where: str, kind: Any, value: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        article = "an" if kind is int else "a"
        raise UsageError(
            f"{where} takes {article} {kind.__name__}, not '{printable(value)}'."
        ) from None


def describe(kind: type[Pass[Any]]) -> tuple[tuple[str, str, str], ...]:
    """A pass's options: name, what it takes, default."""
    types_ = get_type_hints(kind)
    return tuple((f.name, _takes(types_[f.name]), _default(f)) for f in fields(kind))


def _takes(kind: Any) -> str:
    if (policy := _policy(kind)) is not None:
        return " | ".join(policy.choices())
    if get_origin(kind) is Literal:
        return " | ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " | ".join("none" if a is type(None) else _takes(a) for a in get_args(kind))
    if get_origin(kind) is tuple:
        return "text;text;…"
    return {"int": "whole number", "float": "number", "bool": "true | false"}.get(
        getattr(kind, "__name__", ""), "text"
    )


def _default(field: Field[Any]) -> str:
    value = None if field.default is MISSING else field.default
    if value is None or value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
