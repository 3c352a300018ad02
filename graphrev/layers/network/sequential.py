"""``Sequential``: a Network whose layers are called one after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal

from graphrev.layers.network import legacy
from graphrev.layers.network.errors import NetworkTypeError
from graphrev.layers.network.network import Network

_Passing = Literal["not", "second", "by name"]


class Sequential(Network):
    """Calls layers and functions in order, each on what the one before it returned."""

    def __init__(
        self,
        layers_funcs: Iterable[Any] | None = None,
        name: str | None = None,
        *,
        recompute: bool = False,
    ) -> None:
        """Makes a Network of ``layers_funcs``; without any it returns its input.

        Raises:
          NetworkTypeError: An item is neither a ``tf.layers`` layer nor callable.
        """
        super().__init__(name=name, recompute=recompute)
        self._layers_funcs: list[tuple[_Passing, Any]] = []
        for item in layers_funcs or ():
            self.add(item)

    def add(self, layer_func: Any) -> None:
        """Appends a layer, which is tracked, or a function, which is not.

        Raises:
          NetworkTypeError: It is neither.
        """
        if legacy.is_legacy_layer(layer_func):
            passing = _passing(layer_func.call)
            self.track_layer(layer_func)
        elif callable(layer_func):
            passing = _passing(layer_func)
        else:
            raise NetworkTypeError(
                "Sequential.add() takes only tf.layers.Layer objects or callables; not "
                f"'{layer_func}' of type '{type(layer_func)}'."
            )
        self._layers_funcs.append((passing, layer_func))

    def call(self, inputs: Any, training: Any = None) -> Any:
        """Calls every item; ``training`` goes to those that have a parameter of that name."""
        value = inputs
        for passing, item in self._layers_funcs:
            if training is None or passing == "not":
                value = item(value)
            elif passing == "second":
                value = item(value, training)
            else:
                value = item(value, training=training)
        return value


def _passing(function: Callable[..., Any]) -> _Passing:
    """How ``training`` is given to a function that takes the value first."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, and without a signature to read
        return "not"
    places = {parameter.name: place for place, parameter in enumerate(parameters)}
    if "training" not in places:
        return "not"
    place = places["training"]
    by_place = place == 1 and parameters[place].kind is not inspect.Parameter.KEYWORD_ONLY
    return "second" if by_place else "by name"
