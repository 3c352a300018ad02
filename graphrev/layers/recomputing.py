"""``tf.contrib.layers.recompute_grad``, for TensorFlow 2.

What the function built is copied in the backward pass, so the function runs once and its random
numbers, its batch-norm updates and whatever it closes over stay as they were. Only a function that
asks to be told, by an argument ``is_recomputing``, is called again, as upstream did.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import tensorflow

from graphrev.layers.contexts import outermost, variables_of
from graphrev.layers.errors import LayerRuntimeError, LayerTypeError, LayerValueError
from graphrev.layers.regions import (
    brought_in,
    called_captures,
    captures,
    defer_call,
    newest,
)

tf: Any = tensorflow.compat.v1
_variable_scopes: Any = importlib.import_module("tensorflow.python.ops.variable_scope")
Function: TypeAlias = Callable[..., Any]
_DEFAULT = "__rev_block_lib_default"
_TOLD = "is_recomputing"
_WRONG_VARIABLES = (
    "The variables used on recompute were different than the variables originally used. The "
    "function wrapped with @recompute_grad likely creates its own variable scope with a default "
    "name and has been called twice in the same enclosing scope. To fix, ensure each call to the "
    "function happens in its own unique variable scope, or name the layers it makes."
)


def recompute_grad(
    fn: Any = None, use_data_dep: Any = _DEFAULT, tupleize_grads: bool = False
) -> Any:
    """Decorates a function so that its activations are recomputed in the backward pass.

    Works with and without parentheses. The wrapped function takes tensors, arrays and variables,
    alone or nested, as positional arguments, and anything as keyword arguments; it returns what
    ``fn`` returns. Gradients flow to the arguments, to variables and to whatever else it reads.

    Args:
        fn: the function. If it has an argument ``is_recomputing``, it is called again in the
            backward pass with ``True``; otherwise what it built is copied.
        use_data_dep, tupleize_grads: accepted for upstream's sake. The recomputation waits for the
            incoming gradient, and the one below for all of this one's, either way.

    Raises:
        ValueError: ``fn`` closes over a tensor or variable directly; make it an argument (a
            ``LayerValueError``).
        TypeError: ``fn`` is no function (a ``LayerTypeError``).
    """
    if fn is None or isinstance(fn, bool):
        return functools.partial(recompute_grad, use_data_dep=use_data_dep)
    if not callable(fn):
        raise LayerTypeError(f"recompute_grad needs a function, not {fn!r}.")
    del use_data_dep, tupleize_grads
    _refuse_closed_over(fn)
    wrapper = _Wrapped(fn, _is_told(fn))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper.run(args, kwargs)

    return functools.update_wrapper(wrapped, fn)


@dataclass(frozen=True, eq=False)
class _Wrapped:
    """A function, and which variables it made in which scope of which graph."""

    function: Function
    is_told: bool
    made: weakref.WeakKeyDictionary[Any, dict[str, tuple[str, ...]]] = field(
        default_factory=lambda: weakref.WeakKeyDictionary()
    )

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if tensorflow.executing_eagerly():
            raise LayerRuntimeError(
                "recompute_grad recomputes in a graph, and TensorFlow runs eagerly here. Call the "
                "function inside 'with tf.Graph().as_default():' or a tf.function."
            )
        call = _Call(args, kwargs)
        graph, scope = tf.get_default_graph(), tf.get_variable_scope()
        since, before = newest(graph), len(scope.global_variables())
        counts = dict(_scope_counts())
        told = {_TOLD: False} if self.is_told else {}
        result = call.of(self.function, call.tensors, told)
        leaves = tensorflow.nest.flatten(result)
        places = [i for i, leaf in enumerate(leaves) if _is_value(leaf)]
        outputs = [tf.convert_to_tensor(leaves[i]) for i in places]
        created = [variable.name for variable in scope.global_variables()[before:]]
        recompute = self._recompute(call, outputs, since, _Scope(scope, counts))
        if self._made_others_before(graph, scope.name, tuple(created)):
            recompute = _refuse
        find = called_captures if recompute is not None else captures
        read = find(outputs, call.tensors, since)
        name = getattr(self.function, "__name__", "recompute").strip("<>")
        results = defer_call(outputs, read, call.tensors, name, recompute, kept=True)
        for place, tensor in zip(places, results):
            leaves[place] = tensor
        return tensorflow.nest.pack_sequence_as(result, leaves)

    def _made_others_before(self, graph: Any, scope: str, created: tuple[str, ...]) -> bool:
        """Whether an earlier call in the same scope made variables of other names."""
        if not created:
            return False
        return self.made.setdefault(graph, {}).setdefault(scope, created) != created

    def _recompute(self, call: _Call, outputs: Sequence[Any], since: int, scope: _Scope) -> Any:
        """Calls the function again, for one that asked to be told."""
        if not self.is_told:
            return None
        read = called_captures(outputs, call.tensors, since)
        arguments = _current_arg_scope()

        def recompute(gates: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            again = newest(tf.get_default_graph())
            with _arg_scope(arguments), scope.again():
                result = call.of(self.function, gates, {_TOLD: True})
            tensors = [
                tf.convert_to_tensor(t) for t in tensorflow.nest.flatten(result) if _is_value(t)
            ]
            if _variables(called_captures(tensors, gates, again)) != _variables(read):
                raise LayerValueError(_WRONG_VARIABLES)
            return tensors, variables_of([outermost(tensor) for tensor in read])

        return recompute


@dataclass(frozen=True, eq=False)
class _Scope:
    """A variable scope, and how many scopes of each name had been opened when it was entered."""

    scope: Any
    counts: dict[str, int]

    @contextmanager
    def again(self) -> Generator[None]:
        """Enters it as it was, so that default names come out as they did, reusing variables."""
        counts = _scope_counts()
        now = dict(counts)
        with tf.variable_scope(self.scope, reuse=True):
            counts.clear()
            counts.update(self.counts)
            try:
                yield
            finally:
                counts.clear()
                counts.update(now)


def _scope_counts() -> dict[str, int]:
    return _variable_scopes.get_variable_scope_store().variable_scopes_count


class _Call:
    """The arguments of one call, with the tensors among them to be replaced."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._args, self._kwargs = tuple(args), dict(kwargs)
        leaves = tensorflow.nest.flatten(self._args)
        wrong = next((leaf for leaf in leaves if not _is_value(leaf)), None)
        if wrong is not None or any(leaf is None for leaf in leaves):
            raise LayerValueError(
                "All inputs to function must be Tensors (or arrays or variables); a function "
                f"wrapped with recompute_grad got {wrong!r}. Pass it as a keyword argument."
            )
        named = tensorflow.nest.flatten(self._kwargs)
        self._places = [i for i, leaf in enumerate([*leaves, *named]) if _is_value(leaf)]
        self._leaves = [*leaves, *named]
        self.tensors = [brought_in(tf.convert_to_tensor(self._leaves[i])) for i in self._places]

    def of(self, function: Function, tensors: Sequence[Any], told: Mapping[str, bool]) -> Any:
        """What ``function`` returns for ``tensors`` in place of the call's own."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors):
            leaves[place] = tensor
        structure = (self._args, self._kwargs)
        args, kwargs = tensorflow.nest.pack_sequence_as(structure, leaves)
        return function(*args, **{**kwargs, **told})


def _is_value(leaf: Any) -> bool:
    return tensorflow.is_tensor(leaf) or isinstance(leaf, np.ndarray | np.generic | tf.Variable)


def _refuse(_: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    raise LayerValueError(_WRONG_VARIABLES)


def _variables(tensors: Sequence[Any]) -> frozenset[str]:
    held = (
        outermost(tensor)
        for tensor in tensors
        if tensor.dtype.name == "resource" or tensor.dtype._is_ref_dtype
    )
    return frozenset(tensor.op.name for tensor in held)


def _is_told(fn: Function) -> bool:
    try:
        return _TOLD in inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return False


def _refuse_closed_over(fn: Function) -> None:
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None)
    if code is None or not cells:
        return
    for name, cell in zip(code.co_freevars, cells):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if tensorflow.is_tensor(value) or isinstance(value, tf.Variable):
            raise LayerValueError(
                f"fn decorated with @recompute_grad closes over Tensor {value.name} (local "
                f"variable name: {name}). Make the Tensor an input to fn."
            )


def _current_arg_scope() -> Any:
    """The argument scope of TF-Slim, if the program uses it."""
    slim = sys.modules.get("tf_slim.ops.arg_scope")
    return None if slim is None else slim.current_arg_scope()


@contextmanager
def _arg_scope(scope: Any) -> Generator[None]:
    slim = sys.modules.get("tf_slim.ops.arg_scope")
    with nullcontext() if slim is None or scope is None else slim.arg_scope(scope):
        yield
