"""The border to TensorFlow: which class is "the" ``tf.layers`` layer, and what differs by Keras.

TensorFlow 1.15 had one legacy layer class. TensorFlow 2.16 to 2.21 have two, unrelated by
inheritance: ``tensorflow.python.layers`` (inside TensorFlow, always there, no batch normalization)
and ``tf.compat.v1.layers`` (the package tf_keras, which TensorFlow loads lazily and only when the
environment says ``TF_USE_LEGACY_KERAS=1``; with Keras 3 that module has no layers at all).
A Network is a layer of the kind the program's own ``tf.compat.v1.layers`` has, and tracks both.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

tf1: Any = importlib.import_module("tensorflow.compat.v1")

Tensor: TypeAlias = Any
Variable: TypeAlias = Any
VariableScope: TypeAlias = Any

CORE = "tensorflow.python.keras"
PACKAGE = "tf_keras.src"


def load(home: str, room: str) -> Any:
    """A module of one of the two Kerases."""
    return importlib.import_module(f"{home}.{room}")


def _home() -> str:
    """Where the layers live that the program gets from ``tf.compat.v1.layers``."""
    try:
        asked: type[Any] = tf1.layers.Layer
    except (AttributeError, ImportError):
        return CORE
    return PACKAGE if asked.__module__.startswith("tf_keras.") else CORE


HOME = _home()

if TYPE_CHECKING:

    class LegacyLayer:
        """What Network uses of ``tf.layers.Layer``; at run time it is TensorFlow's class."""

        built: bool
        call: Callable[..., Any]
        _name: str | None
        _base_name: str | None
        _scope: VariableScope | None
        _first_parent: Callable[[], Any] | None
        _use_resource_variables: bool
        _make_unique_name: Callable[..., tuple[str, str]]

        def __init__(self, *, name: str | None = None) -> None: ...

        @property
        def name(self) -> str:
            """The layer's name."""
            ...

        @property
        def scope_name(self) -> str:
            """The name of its variable scope."""
            ...

        def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            """Builds the layer if need be, then runs ``call``."""

else:
    LegacyLayer = load(HOME, "legacy_tf_layers.base").Layer


def is_legacy_layer(thing: object) -> bool:
    """Whether ``thing`` is a ``tf.layers`` layer of either kind, Networks included.

    A layer of tf_keras cannot exist before tf_keras is loaded, so it is never loaded to ask.
    """
    for home in (CORE, PACKAGE):
        module = sys.modules.get(f"{home}.legacy_tf_layers.base")
        if module is not None and isinstance(thing, module.Layer):
            return True
    return False


def graph_name_counters() -> Any:
    """The default graph's counts of layer names given so far, as Keras keeps them."""
    return load(HOME, "backend").get_default_graph_uid_map()


def opened_scope_counts() -> dict[str, int]:
    """The default graph's live record of every variable scope opened so far, by full name."""
    store: Any = importlib.import_module("tensorflow.python.ops.variable_scope")
    return store.get_variable_scope_store().variable_scopes_count


def is_variable_scope(thing: object) -> bool:
    """Whether ``thing`` is a ``tf.VariableScope``."""
    return isinstance(thing, tf1.VariableScope)


def full_name(variable: Variable) -> str:
    """The variable's name with every scope and without the output number."""
    return str(variable.name).partition(":")[0]


def default_session() -> Any:
    """The session that assigns variables in graph mode, ``None`` in eager mode or without one."""
    return None if tf1.executing_eagerly() else tf1.get_default_session()
