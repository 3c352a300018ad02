"""``@graphrev.rewritten``: rewrites what a function built."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from graphrev.api import parse_passes, rewrite
from graphrev.pipeline import Pass

BuilderT = TypeVar("BuilderT", bound=Callable[..., Any])


def rewritten(*passes: str | Pass[Any]) -> Callable[[BuilderT], BuilderT]:
    """Decorates a function that builds a TF1 training graph in the default graph.

    After the function returns, the default graph is rewritten in place by ``passes``; the tensors,
    variables and ops it returned stay valid. What the function raises is passed on, and the graph
    is then left as the function left it. AutoGraph does not convert the function.

    Args:
        passes: passes, names or specifications; ``"reversible"`` when none is given.

    Raises:
        UsageError: there is no such pass or option; TensorFlow runs eagerly.
        LiveGraphError: the graph cannot be changed any more.
    """
    bare: Any = passes[0] if len(passes) == 1 else None
    if callable(bare) and not isinstance(bare, Pass | type):
        decorated: Any = rewritten()(cast(Any, bare))
        return decorated
    chosen = parse_passes(passes or ("reversible",))

    def decorate(builder: BuilderT) -> BuilderT:
        @functools.wraps(builder)
        def build(*args: Any, **kwargs: Any) -> Any:
            graph = _graph_under_construction()
            result = builder(*args, **kwargs)
            rewrite(graph, chosen)
            return result

        # AutoGraph, which Keras runs a layer's ``call`` through, leaves such a function as it is.
        decorated: Any = build
        decorated.autograph_info__ = {}
        return cast(BuilderT, build)

    return decorate


def _graph_under_construction() -> Any:
    import tensorflow as tf

    from graphrev.errors import UsageError
    from graphrev.io.live import watch_sessions

    watch_sessions()
    if tf.executing_eagerly():
        raise UsageError(
            "A function decorated with graphrev.rewritten builds a TF1 graph, and TensorFlow runs "
            "eagerly here. Call it inside 'with tf.Graph().as_default():'."
        )
    return tf.compat.v1.get_default_graph()
