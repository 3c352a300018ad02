"""How ``training`` gets from a Network to the layers of both Keras kinds that it calls.

Each Keras hands ``training`` down from a layer to the layers called inside it, unless they are told
otherwise, through a call context of its own. On TensorFlow 1.15 there was one; a Network that mixes
kinds (TensorFlow's dense layers and tf_keras's batch normalization, say) has to fill in the other.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Generator
from typing import Any

from graphrev.layers.network.legacy import CORE, HOME, PACKAGE, LegacyLayer, load, tf1


def training_in(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The ``training`` a call gives, else that of the layer whose ``call`` is running now."""
    try:
        given = inspect.signature(call).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):  # no signature, or a wrong call: the call itself will say so
        given = kwargs
    training = given.get("training", kwargs.get("training"))
    if training is None:
        return load(HOME, "engine.base_layer_utils").call_context().training
    return training


@contextlib.contextmanager
def training_everywhere(layer: LegacyLayer, inputs: Any, training: Any) -> Generator[None]:
    """Layers of the other Keras that are called inside learn of ``training`` too."""
    other = PACKAGE if HOME == CORE else CORE
    module = sys.modules.get(f"{other}.engine.base_layer_utils")
    if training is None or module is None:
        yield
        return
    graph_mode = not tf1.executing_eagerly()
    context = module.call_context()
    keyword = {"training": training}
    # tf_keras takes a dictionary since 2.17; TensorFlow's own Keras and tf_keras 2.16 do not.
    takes_dictionary = "call_context_args" in inspect.signature(context.enter).parameters
    options = {"call_context_args": keyword} if takes_dictionary else keyword
    with context.enter(layer, inputs, graph_mode, **options):
        yield
