"""Cerebras's ``AbstractRecomputeWrapper``, for graphs built with TensorFlow 2.

A subclass says how its outputs follow from its inputs (``call``) and how its gradients follow from
those of its outputs (``_gradient``), with helpers to recompute a block and to hand rebuilt tensors
to the layer below. What upstream kept on the instance is kept per call here, so one instance may be
called many times; variables are told apart by identity, never by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow

from graphrev.gradients import defer
from graphrev.layers.contexts import (
    handle_of,
    in_function_loop,
    in_this_context,
    outermost,
    variables_of,
)
from graphrev.layers.errors import LayerRuntimeError, LayerValueError
from graphrev.layers.regions import called_captures, newest
from graphrev.replicas import key_of

tf: Any = tensorflow.compat.v1
nest: Any = tensorflow.nest
RECOMPUTED_TENSOR_ATTR_NAME = "_recomputed_tensor"


class AbstractRecomputeWrapper(ABC):
    """A layer that computes its own gradients, recomputing what they need.

    Attributes:
        CtrlFlowWarnedOnce: upstream's flag; nothing sets it, since every variable is found.
    """

    CtrlFlowWarnedOnce = False
    _side_gradients: dict[Any, Any] | None = None

    @abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The forward computation: a tensor, or a (nested) tuple of tensors."""

    @abstractmethod
    def _gradient(self, grad_ys: Any, rev_ys: Any, **grad_kwargs: Any) -> Any:
        """The backward computation.

        Args:
            grad_ys: gradients of the outputs, a tuple structured as ``call`` returned them.
            rev_ys: the outputs, or what the layer above rebuilt of them; same structure.
            grad_kwargs: ``variables``, the trainable variables ``call`` used, if it used any.

        Returns:
            ``(grad_xs, rev_xs, grad_vars)``, or ``(grad_xs, rev_xs)`` without variables. Gradients
            of the tensors among the keyword arguments are those that
            :meth:`_block_recompute_and_gradients` found; they are passed on by themselves.
        """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs :meth:`call` and arranges for :meth:`_gradient` to be called.

        Raises:
            RuntimeError: eager execution (a ``LayerRuntimeError``).
        """
        if tensorflow.executing_eagerly():
            raise LayerRuntimeError(
                f"{type(self).__name__} recomputes in a graph, and TensorFlow runs eagerly here. "
                "Call it inside 'with tf.Graph().as_default():' or a tf.function."
            )
        starts = [tf.identity(tf.convert_to_tensor(leaf)) for leaf in nest.flatten(args)]
        since = newest(tf.get_default_graph())
        self._args_for_shape = args
        result = self.call(*nest.pack_sequence_as(args, starts), **kwargs)
        self._outputs_for_shape = result if isinstance(result, tuple) else (result,)
        outputs = [tf.convert_to_tensor(leaf) for leaf in nest.flatten(self._outputs_for_shape)]
        captures = called_captures(outputs, starts, since)
        backward = _Backward(self, captures)
        name = type(self).__name__
        results = defer(outputs, captures, starts, name, gradient=backward)
        packed = nest.pack_sequence_as(self._outputs_for_shape, results)
        return packed if isinstance(result, tuple) else packed[0]

    def _set_recomputed_tensor(self, tensor: Any, recomputed_tensor: Any) -> None:
        """Notes ``recomputed_tensor`` as the rebuilt ``tensor``, and of what it is a copy of.

        ``None`` is ignored.

        Raises:
            AssertionError: either is no tensor of a graph.
        """
        if recomputed_tensor is None:
            return
        assert tensorflow.is_tensor(tensor), tensor
        assert tensorflow.is_tensor(recomputed_tensor), recomputed_tensor
        setattr(tensor, RECOMPUTED_TENSOR_ATTR_NAME, recomputed_tensor)
        while tensor.op.type in ("Identity", "IdentityN"):
            tensor = tensor.op.inputs[tensor.value_index]
            setattr(tensor, RECOMPUTED_TENSOR_ATTR_NAME, recomputed_tensor)

    def _check_get_recomputed_tensor(self, tensor: Any) -> Any:
        """The rebuilt tensor noted for ``tensor``, or ``tensor`` itself.

        A note made in another function or loop body is of no use here and passed over.

        Raises:
            AssertionError: it is no tensor of a graph.
        """
        assert tensorflow.is_tensor(tensor), tensor
        noted = getattr(tensor, RECOMPUTED_TENSOR_ATTR_NAME, None)
        return tensor if noted is None or not in_this_context(noted) else noted

    def _block_recompute_and_gradients(
        self,
        block: Callable[..., Any],
        inputs: Sequence[Any],
        grad_outputs: Sequence[Any],
        variables: Sequence[Any],
        **kwargs: Any,
    ) -> tuple[Any, list[Any], list[Any], list[Any]]:
        """Runs ``block`` again once the gradients are there, and differentiates it.

        Args:
            block: called with ``inputs`` and ``kwargs``.
            inputs: tensors; no gradient leaks through them.
            grad_outputs: the gradients of the block's outputs.
            variables: what else to differentiate with respect to.
            kwargs: tensors among them are side inputs and get gradients as well.

        Returns:
            ``(output, grad_inputs, grad_variables, grad_kwargs)``; the last holds one gradient per
            tensor among ``kwargs``, in order.
        """
        ready = [grad for grad in nest.flatten(list(grad_outputs)) if grad is not None]
        side = {key: value for key, value in kwargs.items() if tensorflow.is_tensor(value)}
        with tf.control_dependencies(ready):
            held = [tf.stop_gradient(tensor) for tensor in inputs]
            held_side = {key: tf.stop_gradient(value) for key, value in side.items()}
        output = block(*held, **{**kwargs, **held_side})
        handles = self._update_variables_for_context(list(grad_outputs), list(variables))
        wanted = [*held, *handles, *held_side.values()]
        grads = tf.gradients(
            nest.flatten(output), wanted, nest.flatten(list(grad_outputs)), name=""
        )
        first, last = len(held), len(held) + len(handles)
        if self._side_gradients is not None:
            for value, grad in zip(side.values(), grads[last:]):
                _accumulate(self._side_gradients, key_of(value), grad)
        return output, grads[:first], grads[first:last], grads[last:]

    def _get_clean_grad_scope(self, graph: Any) -> str:
        """The scope for recomputed ops: the current one without the part made for one gradient."""
        head, _, tail = graph.get_name_scope().rpartition("/")
        kept = head if "_grad" in tail else graph.get_name_scope()
        return f"{kept}/" if kept else ""

    def _update_variables_for_context(
        self, in_tensors: Sequence[Any], variable_tensors: Sequence[Any]
    ) -> list[Any]:
        """What stands for variables in the graph or loop body that is being built.

        Args:
            in_tensors: not needed; the graph under construction decides.
            variable_tensors: variables, or tensors that hold or read them.
        """
        del in_tensors
        return variables_of(variable_tensors)

    _update_variables_for_context_v1 = _update_variables_for_context
    _update_variables_for_context_v2 = _update_variables_for_context

    @staticmethod
    def is_in_while_loop(graph: Any = None) -> bool:
        """Whether ``graph`` (by default the current one) is the body of a loop or a branch.

        Bodies and conditions of ``while``, branches of ``cond`` and the graphs of their gradients
        count, and for the current graph the loops of TensorFlow 1 as well.
        """
        return in_function_loop(graph)

    @contextmanager
    def _as_it_was(self, state: dict[str, Any]) -> Generator[dict[Any, Any]]:
        """The instance as it was after one of its calls, collecting side inputs' gradients.

        What is set on the instance meanwhile stays.
        """
        attributes: Any = self.__dict__
        now: dict[str, Any] = dict(attributes)
        then: dict[str, Any] = {**state, "_side_gradients": {}}
        _replace(attributes, then)
        try:
            yield then["_side_gradients"]
        finally:
            missing = object()
            changed = {
                name: value
                for name, value in attributes.items()
                if then.get(name, missing) is not value
            }
            _replace(attributes, {**now, **changed})


class _Backward:
    """The backward pass of one call."""

    def __init__(self, layer: AbstractRecomputeWrapper, captures: Sequence[Any]) -> None:
        self._layer = layer
        self._state = dict(layer.__dict__)
        self._captures = list(captures)
        variables = _trainable_variables(self._captures)
        self._variables = list(variables.values())
        self._places = list(variables)

    def __call__(self, op: Any, *grads: Any) -> list[Any]:
        layer, graph = self._layer, tf.get_default_graph()
        structure = self._state["_outputs_for_shape"]
        count = len(nest.flatten(structure))
        starts = op.inputs[count + len(self._captures) :]
        with layer._as_it_was(self._state) as side:
            with _absolute_scope(layer._get_clean_grad_scope(graph)):
                rebuilt = [layer._check_get_recomputed_tensor(t) for t in op.inputs[:count]]
                keywords: dict[str, Any] = {}
                if self._variables:
                    keywords["variables"] = list(self._variables)
                answer = layer._gradient(
                    nest.pack_sequence_as(structure, list(grads[:count])),
                    nest.pack_sequence_as(structure, rebuilt),
                    **keywords,
                )
            grad_xs, rev_xs, grad_vars = _unpacked(layer, answer)
            for start, value in zip(starts, nest.flatten(rev_xs)):
                layer._set_recomputed_tensor(start, value)
        grad_captures = [side.get(key_of(capture)) for capture in self._captures]
        for place, grad in zip(self._places, grad_vars):
            grad_captures[place] = grad
        return [*(None for _ in range(count)), *grad_captures, *nest.flatten(grad_xs)]


def _replace(attributes: dict[str, Any], others: dict[str, Any]) -> None:
    attributes.clear()
    attributes.update(others)


def _unpacked(layer: AbstractRecomputeWrapper, answer: Any) -> tuple[Any, Any, list[Any]]:
    if not isinstance(answer, list | tuple) or len(answer) not in (2, 3):
        count = len(answer) if isinstance(answer, list | tuple) else 1
        raise LayerValueError(
            f"AbstractRecomputeWrapper got wrong number of outputs ({count}) from _gradient of "
            f"{type(layer).__name__}. Return (grad_xs, rev_xs, grad_vars), or (grad_xs, rev_xs)."
        )
    grad_xs, rev_xs, *rest = answer
    return grad_xs, rev_xs, list(rest[0] or ()) if rest else []


def _trainable_variables(captures: Sequence[Any]) -> dict[int, Any]:
    """By place among the captures, the trainable variable it is."""
    graph = tf.get_default_graph()
    around = graph
    while getattr(around, "outer_graph", None) is not None:
        around = around.outer_graph
    known: dict[Any, Any] = {}
    for source in (graph, around):
        for variable in source.get_collection("variables"):
            known[key_of(handle_of(variable))] = variable
    found = {place: known.get(key_of(outermost(capture))) for place, capture in enumerate(captures)}
    return {place: v for place, v in found.items() if v is not None and v.trainable}


def _absolute_scope(scope: str) -> Any:
    return tf.get_default_graph().name_scope(scope or None)


def _accumulate(found: dict[Any, Any], key: Any, grad: Any) -> None:
    if grad is not None:
        found[key] = grad if found.get(key) is None else tf.add_n([found[key], grad])
