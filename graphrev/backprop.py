"""Reverse-mode differentiation of a small copied region, by TensorFlow's registered gradients.

``tf.gradients`` does the same for any graph, at a price that a net of 128 regions feels: each call
walks, counts and names anew, and it makes a tensor of zeros for every output that no gradient
arrives at, five of them for each batch norm. Here the region is at hand, a list of a dozen ops, so
none of that is needed. What is done is what python/ops/gradients_util.py does, in the same order,
so sums of three and more gradients come out the same bit by bit.

Regions with anything special in them (control flow, calls of functions, XLA clusters, regions of
their own) are left to ``tf.gradients``.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import tensorflow

from graphrev.ir.deferred import GRADIENT_ATTR
from graphrev.replicas import key_of

tf: Any = tensorflow.compat.v1
_ops: Any = importlib.import_module("tensorflow.python.framework.ops")
_gradients: Any = importlib.import_module("tensorflow.python.ops.gradients_util")
_trainable: Any = importlib.import_module("tensorflow.python.eager.backprop_util")

_FIRST_ALONE = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
"""Ops whose gradient reads the gradient of their first output and no other (nn_grad.py)."""
_CALLS = frozenset(
    {
        *("PartitionedCall", "StatefulPartitionedCall", "SymbolicGradient"),
        *("If", "StatelessIf", "Case", "StatelessCase", "While", "StatelessWhile"),
    }
)


def differentiate(
    ys: Sequence[Any], grad_ys: Sequence[Any], xs: Sequence[Any], scope: str, *, colocated: bool
) -> list[Any]:
    """The gradients of ``ys`` with respect to ``xs``, where ``xs`` are where the region starts.

    Args:
        ys: the region's outputs.
        grad_ys: their gradients.
        xs: tensors that the region reads; what lies before them is not looked at.
        scope: the name scope that gradient ops are made in, by the names of the copied ops.
        colocated: whether gradient ops are put beside the ops they belong to.

    Returns:
        One gradient (or ``None``) per tensor of ``xs``.
    """
    region = _Region(ys, xs)
    if not colocated and region.is_plain():
        return _Sweep(region, scope).run(ys, grad_ys, xs)
    with tf.name_scope(f"{scope}/"):
        return _gradients._GradientsHelper(
            list(ys),
            list(xs),
            list(grad_ys),
            colocate_gradients_with_ops=colocated,
            stop_gradients=list(xs),
        )


class _Region:
    """The ops between ``xs`` and ``ys``, with how many readers of each must come first."""

    def __init__(self, ys: Sequence[Any], xs: Sequence[Any]) -> None:
        self.starts = {key_of(tensor) for tensor in xs}
        self.pending: dict[Any, int] = {}
        self._reached: dict[Any, bool] = {}
        for op in self._in_order([tensor.op for tensor in ys if not self._is_start(tensor)]):
            reached = any(self._passes(tensor) for tensor in op.inputs)
            self._reached[op] = reached
        for op, reached in self._reached.items():
            if reached:
                self.pending.setdefault(op, 0)
                for tensor in self.inner_inputs(op):
                    self.pending[tensor.op] = self.pending.get(tensor.op, 0) + 1

    def inner_inputs(self, op: Any) -> list[Any]:
        """The inputs that an op of the region computed."""
        return [
            tensor
            for tensor in op.inputs
            if not self._is_start(tensor) and self._reached.get(tensor.op, False)
        ]

    def is_plain(self) -> bool:
        """Whether every op has a gradient of the ordinary kind and lies in a plain graph."""
        graph = tf.get_default_graph()
        inside = getattr(graph, "outer_graph", None) is not None
        if inside or graph._get_control_flow_context() is not None:
            return False
        if "_XlaCompile" in graph._attr_scope_map:
            return False
        return all(_is_plain(graph, op) for op in self.pending)

    def _is_start(self, tensor: Any) -> bool:
        return key_of(tensor) in self.starts

    def _passes(self, tensor: Any) -> bool:
        if not _trainable.IsTrainable(tensor):
            return False
        return self._is_start(tensor) or self._reached.get(tensor.op, False)

    def _in_order(self, ends: Sequence[Any]) -> list[Any]:
        """The ops that ``ends`` follow from, each after those it reads.

        Only tensors that gradients flow through are followed: an index computed from the whole
        graph is no reason to walk it.
        """
        done: dict[Any, None] = {}
        pending = list(reversed(ends))
        while pending:
            op = pending[-1]
            missing = [
                tensor.op
                for tensor in op.inputs
                if tensor.op not in done
                and not self._is_start(tensor)
                and _trainable.IsTrainable(tensor)
            ]
            if missing and op not in done:
                pending.extend(missing)
                continue
            done[pending.pop()] = None
        return list(done)


def _is_plain(graph: Any, op: Any) -> bool:
    if op.type in _CALLS or op._get_control_flow_context() is not None:
        return False
    if graph._is_function(op.type) or "_XlaCompile" in op.node_def.attr:
        return False
    return not (op.type == "IdentityN" and GRADIENT_ATTR in op.node_def.attr)


class _Sweep:
    """One differentiation: gradients that have arrived so far, by tensor."""

    def __init__(self, region: _Region, scope: str) -> None:
        self._region = region
        self._scope = scope
        self._graph = tf.get_default_graph()
        self._arrived: dict[Any, list[Any]] = {}

    def run(self, ys: Sequence[Any], grad_ys: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
        for y, grad in zip(ys, grad_ys):
            self._arrived.setdefault(key_of(y), []).append(grad)
        pending = dict(self._region.pending)
        ends = dict.fromkeys(y.op for y in ys if y.op in pending)
        queue = deque(op for op in ends if pending[op] == 0)
        while queue:
            op = queue.popleft()
            self._pass_on(op)
            for tensor in self._region.inner_inputs(op):
                pending[tensor.op] -= 1
                if pending[tensor.op] == 0:
                    queue.append(tensor.op)
        return [self._sum(tensor) for tensor in xs]

    def _pass_on(self, op: Any) -> None:
        """Hands the gradients of what ``op`` computed to what it reads."""
        grads = [self._sum(output) for output in op.outputs]
        gradient = _ops.get_gradient_function(op) if any(g is not None for g in grads) else None
        if gradient is None:
            return
        with tf.name_scope(f"{self._scope}/{_own_name(op)}_grad/"), self._graph._original_op(op):
            if op.type not in _FIRST_ALONE or grads[0] is None:
                grads = [_or_zeros(grad, output) for grad, output in zip(grads, op.outputs)]
            found = gradient(op, *grads)
        listed = found if isinstance(found, list | tuple) else [found]
        for tensor, grad in zip(op.inputs, listed):
            if grad is None:
                continue
            if isinstance(grad, tensorflow.Tensor) and tensor.dtype.name != "resource":
                grad.set_shape(tensor.shape)
            self._arrived.setdefault(key_of(tensor), []).append(grad)

    def _sum(self, tensor: Any) -> Any:
        grads = self._arrived.get(key_of(tensor), [])
        if len(grads) < 2:
            return grads[0] if grads else None
        if all(isinstance(grad, tensorflow.Tensor) for grad in grads):
            total: Any = _gradients._MultiDeviceAddN(grads, None)
        else:
            total = _trainable.AggregateIndexedSlicesGradients(grads)
        self._arrived[key_of(tensor)] = [total]
        return total


def _or_zeros(grad: Any, output: Any) -> Any:
    if grad is not None or not _trainable.IsTrainable(output):
        return grad
    return tf.zeros_like(output)


def _own_name(op: Any) -> str:
    """The name of a copy without the scope of copies."""
    return op.name.partition("/recompute/")[2] or op.name
