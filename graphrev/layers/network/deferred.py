"""Checkpoint values that wait for variables which do not exist yet.

A request is kept by a custom getter on the variable scope of every layer it concerns, and answered
when that layer creates a variable. Nothing here refers to a Network, or a Network and its own
scope would keep one another alive.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from graphrev.layers.network.errors import NameConflict
from graphrev.layers.network.legacy import Variable, VariableScope, full_name, tf1

Getter = Callable[..., Variable]


@dataclass(eq=False)
class Request:
    """One ``restore_network_checkpoint`` whose checkpoint had more entries than variables.

    ``values`` holds an array for each entry that no variable has taken, and ``None`` for the
    others: they are not needed again, and they tell that a later request was answered.
    """

    map_func: Callable[[str], str]
    by_user_map: bool
    network_name: str
    scope_name: str
    session: Any
    values: dict[str, Any]
    takers: dict[str, Variable] = field(default_factory=dict[str, Any])

    def give(self, key: str, variable: Variable) -> None:
        """Notes that ``variable`` took the entry ``key``.

        Raises:
          NetworkValueError: Another variable took it before.
        """
        if self.values[key] is not None:
            self.values[key] = None
            if not tf1.executing_eagerly() and self.session is not None:
                self.session.run(variable.initializer)
        first = self.takers.setdefault(key, variable)
        if first is not variable:
            raise NameConflict(
                self.network_name, self.scope_name, key, full_name(first), full_name(variable)
            ).on_restore(by_user_map=self.by_user_map)


class DeferredGetter:
    """A custom getter that starts a new variable from the latest request which has its value."""

    def __init__(self, outer: Getter | None, requests: list[Request]) -> None:
        """``outer`` is the custom getter that the scope had from its user, called in turn."""
        self.outer = outer
        self.requests = requests

    def __call__(
        self,
        getter: Getter,
        name: str,
        shape: Any = None,
        dtype: Any = None,
        initializer: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Variable:
        """What ``tf.get_variable`` calls: ``getter(name, ...)``, started from a stored value."""
        found = self._find(name)
        if found is not None and found[0].values[found[1]] is not None:
            # A constant initializer brings its own shape, and TensorFlow refuses a second one.
            shape, initializer = None, found[0].values[found[1]]
        make = getter if self.outer is None else functools.partial(self.outer, getter)
        variable = make(name, shape, dtype, initializer, *args, **kwargs)
        if found is not None:
            found[0].give(found[1], variable)
        return variable

    def _find(self, name: str) -> tuple[Request, str] | None:
        for request in reversed(self.requests):
            key = request.map_func(name)
            if key in request.values:
                return request, key
        return None


def defer(scope: VariableScope, request: Request) -> None:
    """Adds ``request`` to the scope, in front of those it or the scopes around it already have.

    The getter is set, not stacked: the request is given to every layer's scope by itself, and a
    getter inherited from an outer scope would answer it twice. The user's own getter stays.
    """
    present = scope.custom_getter
    if not isinstance(present, DeferredGetter):
        scope.set_custom_getter(DeferredGetter(present, [request]))
    elif request not in present.requests:
        # Inherited from an outer scope, perhaps: a list of its own, with the same requests.
        scope.set_custom_getter(DeferredGetter(present.outer, [*present.requests, request]))
