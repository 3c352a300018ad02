"""Named hyper-parameters with types, as ``tf.contrib.training.HParams`` had them.

Source: contrib/training/python/training/hparam.py of TensorFlow 1.15. In one thing it is better:
an element of a list may hold brackets, so that the regular expressions of a map can
(``weight_sparsity_map=[conv[0-9]:0.8]``).
"""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from graphrev.errors import printable
from graphrev.pruning.errors import PruningKeyError, PruningValueError

_NAME = re.compile(r"([a-zA-Z][\w.]*)(?:\[\s*(\d+)\s*\])?\s*=\s*")
_SCALAR = re.compile(r"([^,\[]*)(?:$|,\s*)")
_AFTER = re.compile(r"(?:$|,\s*)")
_BASES: tuple[Any, ...] = ((str, bytes), bool, numbers.Integral, numbers.Number)
_FLAGS = {"true": True, "True": True, "false": False, "False": False}


class HParams:
    """Hyper-parameters as attributes; the type of each is that of its first value.

    Args:
        values: names and values: numbers, booleans, strings, or lists of one of these.

    Raises:
        ValueError: a name is taken by a method, or a list is empty (a ``PruningValueError``).
    """

    def __init__(self, **values: Any) -> None:
        self._hparam_types: dict[str, tuple[type[Any], bool]] = {}
        for name, value in values.items():
            self.add_hparam(name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no hyper-parameter {name!r}")

    def add_hparam(self, name: str, value: Any) -> None:
        """Adds a hyper-parameter.

        Raises:
            ValueError: the name is taken, or the list is empty (a ``PruningValueError``).
        """
        if getattr(self, name, None) is not None:
            raise PruningValueError(f"Hyperparameter name is reserved: {name}")
        is_list = isinstance(value, (list, tuple))
        if is_list and not value:
            raise PruningValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
        self._hparam_types[name] = (type(value[0] if is_list else value), is_list)
        setattr(self, name, value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Gives a hyper-parameter another value of its type.

        Raises:
            KeyError: there is none of that name (a ``PruningKeyError``).
            ValueError: the value is of another type (a ``PruningValueError``).
        """
        if name not in self._hparam_types:
            raise PruningKeyError(f"There is no hyper-parameter '{printable(name)}'.")
        kind, is_list = self._hparam_types[name]
        if isinstance(value, list) and not is_list:
            raise PruningValueError(f"Must not pass a list for single-valued parameter: {name}")
        if is_list and not isinstance(value, list):
            raise PruningValueError(f"Must pass a list for multi-valued parameter: {name}.")
        if is_list:
            setattr(self, name, [_cast(name, kind, item) for item in cast("list[Any]", value)])
        else:
            setattr(self, name, _cast(name, kind, value))

    def del_hparam(self, name: str) -> None:
        """Removes a hyper-parameter, if there is one of that name."""
        if name in self._hparam_types:
            delattr(self, name)
            del self._hparam_types[name]

    def parse(self, values: str) -> HParams:
        """Sets what ``"name=value,other=[1,2]"`` says, and returns the object itself.

        Raises:
            ValueError: the text is malformed, names an unknown hyper-parameter or one twice, or a
                value does not fit its type (a ``PruningValueError``).
        """
        return self.override_from_dict(parse_values(values, self._hparam_types))

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> HParams:
        """Sets several hyper-parameters, and returns the object itself; see :meth:`set_hparam`."""
        for name, value in values_dict.items():
            self.set_hparam(name, value)
        return self

    def parse_json(self, values_json: str) -> HParams:
        """Sets what a JSON object says, and returns the object itself; see :meth:`set_hparam`."""
        return self.override_from_dict(json.loads(values_json))

    def to_json(self, indent: Any = None, separators: Any = None, sort_keys: bool = False) -> str:
        """All values as a JSON object."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def values(self) -> dict[str, Any]:
        """All values by name."""
        return {name: getattr(self, name) for name in self._hparam_types}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return getattr(self, key) if key in self._hparam_types else default

    def __contains__(self, key: object) -> bool:
        return key in self._hparam_types

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.values().items())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self.values().items())})"


def _cast(name: str, kind: Any, value: Any) -> Any:
    """``value`` as a ``kind``, where that loses nothing: an int for a float, never the reverse."""
    if type(value) is kind or kind is type(None):
        return value
    wanted = next((base for base in _BASES if issubclass(kind, base)), object)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise PruningValueError(
            f"Could not cast hparam '{name}' of type '{kind}' from value {value!r}"
        )
    return kind(value)


def parse_values(text: str, types: Mapping[str, tuple[type[Any], bool]]) -> dict[str, Any]:
    """The values that ``"name=value,other=[1,2]"`` spells.

    Args:
        types: by name the type of a value, or of an element of a list.

    Raises:
        ValueError: see :meth:`HParams.parse`.
    """
    found: dict[str, Any] = {}
    place = 0
    while place < len(text):
        head = _NAME.match(text, place)
        if head is None:
            raise PruningValueError(f"Malformed hyperparameter value: {printable(text[place:])}")
        name, index = head.groups()
        if name not in types:
            raise PruningValueError(f"Unknown hyperparameter type for {name}")
        kind, is_list = types[name]
        items, scalar, place = _spelled(text, head.end())
        if index is not None or (is_list and scalar is not None):
            raise PruningValueError(
                f"'{name}' is a list: give all of it, as in '{name}=[a,b]', in {printable(text)}"
            )
        if name in found:
            raise PruningValueError(f"Multiple assignments to variable '{name}' in {text}")
        read = _reader(name, kind, text)
        found[name] = [read(item) for item in items] if scalar is None else read(scalar)
    return found


def _spelled(text: str, start: int) -> tuple[list[str], str | None, int]:
    """The elements of a list or the scalar at ``start``, and where the next name begins."""
    if text[start : start + 1] != "[":
        scalar = _SCALAR.match(text, start)
        if scalar is None:
            raise PruningValueError(f"Malformed hyperparameter value: {printable(text[start:])}")
        return [], scalar[1], scalar.end()
    depth, items = 0, [""]
    for place in range(start, len(text)):
        char = text[place]
        depth += (char == "[") - (char == "]")
        if depth == 0:
            after = _AFTER.match(text, place + 1)
            if after is None:
                break
            return [item for item in items if item], None, after.end()
        if depth == 1 and char in " ,":
            items.append("")
        elif place > start:
            items[-1] += char
    raise PruningValueError(f"Malformed hyperparameter value: {printable(text[start:])}")


def _reader(name: str, kind: type[Any], text: str) -> Callable[[str], Any]:
    def read(item: str) -> Any:
        try:
            if kind is bool:
                return _FLAGS[item] if item in _FLAGS else bool(int(item))
            return kind(item)
        except ValueError as error:
            raise PruningValueError(
                f"Could not parse hparam '{name}' of type '{kind.__name__}' with value "
                f"'{printable(item)}' in {printable(text)}"
            ) from error

    return read
