"""``Network(..., recompute=True)``: every tracked layer is computed again in the backward pass."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow

from graphrev.layers.network.legacy import LegacyLayer
from graphrev.layers.recomputing import recompute_grad

_RECOMPUTES = "_graphrev_recomputes"


def recompute_calls(layer: LegacyLayer) -> None:
    """Makes each call of ``layer`` a region that recomputes itself when it is differentiated.

    Variables are made, and updates and losses added, once, by the call itself; ``call`` is not
    converted by AutoGraph. A layer that two such Networks track is wrapped once.
    """
    original: Any = layer.call
    if getattr(original, _RECOMPUTES, False):
        return
    # The layer must not keep itself alive: upstream's tests look for such rings.
    held = weakref.WeakMethod(original) if inspect.ismethod(original) else None

    def call(*args: Any, **kwargs: Any) -> Any:
        return _recomputed(original if held is None else held(), args, kwargs)

    if held is not None:
        del original
    wrapped: Any = tensorflow.autograph.experimental.do_not_convert(call)
    wrapped = functools.update_wrapper(wrapped, layer.call, assigned=("__name__", "__doc__"))
    wrapped.__signature__ = inspect.signature(layer.call)
    del wrapped.__wrapped__
    setattr(wrapped, _RECOMPUTES, True)
    layer.call = wrapped


def _recomputed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    nest: Any = tensorflow.nest
    leaves = nest.flatten((args, kwargs))
    places = [place for place, leaf in enumerate(leaves) if tensorflow.is_tensor(leaf)]

    def with_tensors(*tensors: Any) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors):
            filled[place] = tensor
        again, named = nest.pack_sequence_as((args, kwargs), filled)
        return function(*again, **named)

    recomputed: Callable[..., Any] = recompute_grad(with_tensors)
    return recomputed(*(leaves[place] for place in places))
