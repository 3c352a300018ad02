"""``tf.contrib.layers.rev_block`` and ``RevBlock``, for TensorFlow 2.

Signatures, variable names, scopes and collections are those of TensorFlow 1.15
(contrib/layers/python/layers/rev_block_lib.py). The backward pass is graphrev's own: f and g are
not called again but copied, so whatever they close over, draw or update stays as it was in the
forward pass.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import tensorflow

from graphrev.layers.errors import (
    LayerCountError,
    LayerRuntimeError,
    LayerTypeError,
    LayerValueError,
)
from graphrev.layers.network.legacy import LegacyLayer
from graphrev.layers.regions import brought_in, captures, defer_call, newest

tf: Any = tensorflow.compat.v1
Branch: TypeAlias = Callable[..., Any]
Branches: TypeAlias = Branch | Sequence[Branch]

CallT = TypeVar("CallT", bound=Callable[..., Any])


def _as_it_stands(function: CallT) -> CallT:
    """Keeps AutoGraph, which Keras runs ``call`` through, away from f and g.

    The signature is put back, because Keras passes ``training`` to whatever takes any keyword.
    """
    convert: Any = tensorflow.autograph.experimental
    wrapped = convert.do_not_convert(function)
    wrapped.__signature__ = inspect.signature(function)
    return wrapped


class RevBlock(LegacyLayer):
    """A block of reversible residual layers; see :func:`rev_block`.

    Args:
        use_efficient_backprop: rebuild the activations in the backward pass; plain
            backpropagation otherwise.
        name: names the block's variable scope.
        kwargs: what ``tf.layers.Layer`` takes.

    Raises:
        AssertionError: a list of functions is not ``num_layers`` long (a ``LayerCountError``).
        TypeError: f or g is no function.
    """

    def __init__(
        self,
        f: Branches,
        g: Branches,
        num_layers: int = 1,
        f_side_input: Sequence[Any] | None = None,
        g_side_input: Sequence[Any] | None = None,
        use_efficient_backprop: bool = True,
        name: str = "revblock",
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"name": name, **kwargs}
        super().__init__(**options)
        self.num_layers = num_layers
        self.f = _scoped(f, num_layers, "f")
        self.g = _scoped(g, num_layers, "g")
        self.f_side_input = list(f_side_input if f_side_input is not None else ())
        self.g_side_input = list(g_side_input if g_side_input is not None else ())
        self._use_efficient_backprop = use_efficient_backprop

    def build(self, _: Any) -> None:
        """Makes nothing yet: variables are made on the first call."""
        logging.getLogger("tensorflow").warning(
            "RevBlock constructs its variables on first call, not on build."
        )
        self.built = True

    @_as_it_stands
    def call(self, inputs: Sequence[Any], forward: bool = True) -> tuple[Any, Any]:
        """Runs the layers, or runs them backwards.

        Raises:
            RuntimeError: eager execution and ``use_efficient_backprop`` (a ``LayerRuntimeError``).
            ValueError: f or g changes the shape.
        """
        scope = tf.get_variable_scope()
        before = len(scope.global_variables())
        first, second = (tf.convert_to_tensor(tensor) for tensor in inputs)
        outputs = self._forward(first, second) if forward else self._backward(first, second)
        trained = {id(variable) for variable in scope.trainable_variables()}
        own: Any = self
        for variable in scope.global_variables()[before:]:
            known = (
                own._trainable_weights if id(variable) in trained else own._non_trainable_weights
            )
            known.append(variable)
        return outputs

    def forward(self, x1: Any, x2: Any) -> tuple[Any, Any]:
        """``(y1, y2)`` of ``(x1, x2)``; makes the variables when called first."""
        return self.__call__([x1, x2])

    def backward(self, y1: Any, y2: Any) -> tuple[Any, Any]:
        """``(x1, x2)`` of ``(y1, y2)``, by subtraction; makes the variables when called first."""
        return self.__call__([y1, y2], forward=False)

    def _forward(self, x1: Any, x2: Any) -> tuple[Any, Any]:
        deferred = self._use_efficient_backprop
        if deferred and tensorflow.executing_eagerly():
            raise LayerRuntimeError(
                "rev_block recomputes in a graph, and TensorFlow runs eagerly here. Call it inside "
                "'with tf.Graph().as_default():' or a tf.function, or pass is_training=False."
            )
        if deferred:
            x1, x2 = brought_in(x1), brought_in(x2)
        f_side, g_side = _tensors(self.f_side_input), _tensors(self.g_side_input)
        for f, g in zip(self.f, self.g):
            x1 = self._half(x1, x2, f, f_side)
            x2 = self._half(x2, x1, g, g_side)
        if not deferred:
            return x1, x2
        y1, y2 = tf.identity_n([x1, x2], name="IdentityN")
        return y1, y2

    def _half(self, p: Any, q: Any, branch: Branch, side: list[Any]) -> Any:
        """``p + branch(q)``, with the deferred gradient behind the branch."""
        if not self._use_efficient_backprop:
            return p + _call(branch, q, side)
        since = newest(tf.get_default_graph())
        h = tf.convert_to_tensor(_call(branch, q, side), name="h")
        if h.dtype != p.dtype:
            raise LayerTypeError(
                f"RevBlock '{self.name}': f and g must keep the type of their input; one of them "
                f"returns {h.dtype.name} for {p.dtype.name}. Cast its result."
            )
        if not _keeps_shape(h.shape, p.shape):
            raise LayerValueError(
                f"RevBlock '{self.name}': f and g must keep the shape of their input; one of them "
                f"returns {h.shape} for {p.shape}. Such a sum cannot be undone."
            )
        return p + defer_call([h], captures([h], [q], since), [q], self.name)[0]

    def _backward(self, y1: Any, y2: Any) -> tuple[Any, Any]:
        f_side, g_side = _tensors(self.f_side_input), _tensors(self.g_side_input)
        for f, g in reversed(list(zip(self.f, self.g))):
            y2 = y2 - _call(g, y1, g_side)
            y1 = y1 - _call(f, y2, f_side)
        return y1, y2


def rev_block(
    x1: Any,
    x2: Any,
    f: Branches,
    g: Branches,
    num_layers: int = 1,
    f_side_input: Sequence[Any] | None = None,
    g_side_input: Sequence[Any] | None = None,
    is_training: bool = True,
) -> tuple[Any, Any]:
    """A block of reversible residual layers: ``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)``, repeated.

    Args:
        x1, x2: float tensors.
        f, g: functions of a tensor, or a sequence of ``num_layers`` of them, that keep shape and
            type. They may make variables, and may close over tensors and variables.
        num_layers: how often; every layer gets variables of its own.
        f_side_input, g_side_input: tensors passed to f and g as a list, their second argument.
        is_training: rebuild the activations in the backward pass instead of keeping them.

    Returns:
        ``(y1, y2)``.

    Raises:
        RuntimeError: eager execution (a ``LayerRuntimeError``); see :class:`RevBlock` for others.
    """
    block = RevBlock(
        f=f,
        g=g,
        num_layers=num_layers,
        f_side_input=f_side_input,
        g_side_input=g_side_input,
        use_efficient_backprop=is_training,
        _reuse=tf.get_variable_scope().reuse,
    )
    return block.forward(x1, x2)


def _scoped(functions: Branches, count: int, role: str) -> list[Branch]:
    each: list[Any] = [functions] * count
    if isinstance(functions, list | tuple):
        each = list(cast("Sequence[Branch]", functions))
    if len(each) != count:
        raise LayerCountError(
            f"rev_block: {len(each)} functions were passed as {role} for num_layers={count}. Pass "
            "one function, or one per layer."
        )
    for function in each:
        if not callable(function):
            raise LayerTypeError(f"rev_block: {role} must be a function, not {function!r}.")
    return [_in_scope(function, f"revlayer_{i}/{role}") for i, function in enumerate(each)]


def _in_scope(function: Branch, scope: str) -> Branch:
    def run(*args: Any) -> Any:
        with tf.variable_scope(scope, use_resource=True):
            return function(*args)

    return run


def _call(branch: Branch, x: Any, side: list[Any]) -> Any:
    return branch(x, list(side)) if side else branch(x)


def _tensors(values: Sequence[Any]) -> list[Any]:
    return [tf.convert_to_tensor(value) for value in values]


def _keeps_shape(added: Any, shape: Any) -> bool:
    """Whether a sum with a tensor of shape ``added``, broadcast if need be, has ``shape``."""
    try:
        return tf.broadcast_static_shape(shape, added).is_compatible_with(shape)
    except ValueError:
        return False
