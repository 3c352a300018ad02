"""The one gradient that graphrev registers: a region recomputes itself in the backward pass.

A region's outputs pass through an ``IdentityN`` (see :mod:`graphrev.ir.deferred`) whose gradient is
:func:`region_gradient`. The ``IdentityN`` reads the region's outputs, its captures and the tensors
it starts from. To the outputs it passes no gradient, so ``tf.gradients`` never walks the forward
region; the gradients of everything else come from a copy of the region. That makes the result right
whatever is captured: what the copy does not recompute, ordinary backpropagation handles.

* *Gate.* The copy reads the region's start through an ``Identity`` that waits for the incoming
  gradient and for every gradient computed by the region above, weight gradients included. Without
  it the executor recomputes during the forward pass and saves nothing (memory-peers.md, section 3).
* *Nothing leaks.* Captures are read through fresh identities, and the copy is differentiated with
  respect to those and the gates alone. So differentiating costs what the copy costs, not the graph.
* *Reversible.* Where a sum ``y = p + h`` is the only reader of the region's output ``h``, ``p`` is
  rebuilt as ``y - h`` and noted down; the region below finds it and reads it instead of the forward
  value. Of a chain of such regions only the last two streams stay alive. The order is right by
  itself: ``tf.gradients`` reaches a region after all regions that read its sum.
* *Once.* The copy of h that rebuilds p is the one that is differentiated: h's backward runs once.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.arrival import register_when_tensorflow_arrives
from graphrev.backprop import differentiate
from graphrev.ir.deferred import BLOCK_ATTR, GRADIENT, GRADIENT_ATTR, REGION_ATTR
from graphrev.replicas import (
    Trained,
    add_op,
    copy_region,
    differentiable,
    holds_reference,
    key_of,
)

tf: Any = tensorflow
_ops: Any = importlib.import_module("tensorflow.python.framework.ops")
_record: Any = importlib.import_module("tensorflow.python.eager.record")
_handles: Any = importlib.import_module("tensorflow.python.ops.handle_data_util")

Recompute = Callable[[Sequence[Any]], tuple[list[Any], list[Any]]]
Gradient = Callable[..., list[Any]]
_SUMS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_RECOMPUTE = "_graphrev_recompute"
_GRADIENT = "_graphrev_gradient"
_NOTES = "_graphrev_rebuilt"


register_when_tensorflow_arrives()


@dataclass(frozen=True, eq=False)
class LiveRegion:
    """A region of a live graph, read off its ``IdentityN``.

    Attributes:
        op: the ``IdentityN``.
        outputs: the region's outputs, before the ``IdentityN``.
        captures: what the region reads from outside.
        starts: the tensors the region is computed from.
        kept: whether the stream that is added to the output stays as it is.
    """

    op: Any
    outputs: list[Any]
    captures: list[Any]
    starts: list[Any]
    kept: bool

    @classmethod
    def of(cls, op: Any) -> LiveRegion:
        """The region that ``op`` stands behind."""
        count, gated, kept = op.get_attr(REGION_ATTR)
        inputs = list(op.inputs)
        end = len(inputs) - gated
        return cls(op, inputs[:count], inputs[count:end], inputs[end:], bool(kept))

    @property
    def block(self) -> bytes:
        """The block's name."""
        return self.op.get_attr(BLOCK_ATTR)


def defer(
    outputs: Sequence[Any],
    captures: Sequence[Any],
    starts: Sequence[Any],
    name: str,
    recompute: Recompute | None = None,
    gradient: Gradient | None = None,
    *,
    kept: bool = False,
) -> list[Any]:
    """Puts the deferred gradient behind a region of the default graph.

    Args:
        outputs: the region's outputs.
        captures: everything the region reads from outside, except ``starts``.
        starts: the tensors the region is computed from.
        name: names the block in scopes.
        recompute: builds the region again from gated starts, instead of copying it; returns the
            outputs, and by capture the tensor to differentiate with respect to (or ``None``).
        gradient: computes the gradients instead, called like :func:`region_gradient`. Neither of
            the two survives saving: an imported graph copies the region.
        kept: whether a stream that the output is added to stays as it is, instead of being rebuilt
            by subtraction.

    Returns:
        The tensors to use in place of ``outputs``.
    """
    graph = _ops.get_default_graph()
    attr = tensorflow.compat.v1.AttrValue
    numbers = attr.ListValue(i=[len(outputs), len(starts), int(kept)])
    attrs = {
        GRADIENT_ATTR: attr(s=GRADIENT.encode()),
        REGION_ATTR: attr(list=numbers),
        BLOCK_ATTR: attr(s=name.encode()),
    }
    inputs = [*outputs, *captures, *starts]
    with graph._attr_scope(attrs), _record.stop_recording():
        results = tf.identity_n(inputs, name="recompute")
    # In a loop of TensorFlow 1 zeros are made in the shape of a variable whose handle is captured;
    # a loop that is a function takes such an output for a resource it creates.
    in_function = getattr(graph, "outer_graph", None) is not None
    for tensor, result in zip(inputs, results):
        if tensor.dtype.base_dtype.name == "resource" and not in_function:
            _handles.copy_handle_data(tensor, result)
    op = results[0].op
    if recompute is not None:
        setattr(op, _RECOMPUTE, recompute)
    if gradient is not None:
        setattr(op, _GRADIENT, gradient)
    backward = functools.partial(region_gradient, op)
    _record.record_operation(GRADIENT, results, inputs, backward)
    return list(results[: len(outputs)])


def region_gradient(op: Any, *grads: Any) -> list[Any]:
    """The gradient of a deferred region: recomputes it, rebuilds its stream, differentiates it.

    Args:
        op: the ``IdentityN``.
        grads: the gradients of its outputs; only those of the region's outputs count.

    Returns:
        One gradient (or ``None``) per input of ``op``; ``None`` for the region's outputs.
    """
    region = LiveRegion.of(op)
    incoming = list(grads[: len(region.outputs)])
    if all(grad is None for grad in incoming):
        return [None] * len(op.inputs)
    own: Gradient | None = getattr(op, _GRADIENT, None)
    if own is not None:
        return own(op, *grads)
    return _Backward(region, incoming).run()


class _Notes:
    """What one differentiation rebuilt so far, and what must have run before it is used."""

    def __init__(self, graph: Any, scope: str) -> None:
        notes: dict[Any, Any] | None = getattr(graph, _NOTES, None)
        if notes is None:
            notes = {}
            setattr(graph, _NOTES, notes)
        self._graph = graph
        self._notes = notes.setdefault(scope, {})

    def value(self, tensor: Any, otherwise: Any = None) -> Any:
        """The rebuilt tensor that stands for ``tensor``; ``otherwise`` or itself."""
        fallback = tensor if otherwise is None else otherwise
        return self._notes.get(key_of(tensor), (fallback, ()))[0]

    def triggers(self, tensor: Any) -> list[Any]:
        """What a recomputation that starts from ``tensor`` has to wait for."""
        return list(self._notes.get(key_of(tensor), (tensor, ()))[1])

    def write(self, tensor: Any, value: Any, triggers: Iterable[Any]) -> None:
        """Notes that ``value`` stands for ``tensor``."""
        self._notes[key_of(tensor)] = (value, tuple(triggers))


class _Backward:
    """One region on its way back."""

    def __init__(self, region: LiveRegion, incoming: list[Any]) -> None:
        self._region = region
        self._incoming = incoming
        self._graph = _ops.get_default_graph()
        self._outer = gradient_scope(self._graph, region.op)
        self._notes = _Notes(self._graph, self._outer)
        self._sum = _sum_behind(region)

    def run(self) -> list[Any]:
        region = self._region
        scope = "/".join(filter(None, (self._outer, region.block.decode())))
        colocated = any(True for _ in self._graph._colocation_stack.peek_objs())
        with tf.name_scope(f"{scope}/recompute/"), _nowhere(self._graph):
            gates, sources = self._gates()
            outputs, sources = self._recompute(gates, sources)
            stream = self._rebuild(outputs[0])
        found = self._differentiate(outputs, [*sources, *gates], scope, colocated)
        captured, started = found[: len(sources)], found[len(sources) :]
        captured = self._behind_the_copy(captured, outputs)
        self._note(stream, captured, started)
        return [*(None for _ in region.outputs), *captured, *started]

    def _gates(self) -> tuple[list[Any], list[Any]]:
        """Identities of starts and captures that wait for the backward pass to come by.

        One op for all of a device: a step of many regions has many of them. A capture that takes
        no gradient has none.
        """
        region = self._region
        waits = [grad for grad in self._incoming if grad is not None]
        handed = region.op.outputs[: len(region.outputs)]
        behind = [out for h in handed for op in h.consumers() for out in op.outputs]
        for tensor in (*region.starts, *handed, *(behind if region.kept else ())):
            waits.extend(self._notes.triggers(origin(tensor)))
        if self._sum is not None:
            waits.append(self._notes.value(self._sum.y))
        copied = [] if hasattr(region.op, _RECOMPUTE) else region.captures
        read = [*region.starts, *copied]
        gated: list[Any] = [None] * len(read)
        devices: dict[str, list[int]] = {}
        for place, tensor in enumerate(read):
            if differentiable(tensor):
                devices.setdefault(tensor.op.device, []).append(place)
        with self._graph.control_dependencies(self._local(waits)):
            for device, places in devices.items():
                values = [self._notes.value(origin(read[place]), read[place]) for place in places]
                gate = add_op(self._graph, "IdentityN", values, "gate", device, region.block)
                for place, output in zip(places, gate.outputs):
                    gated[place] = output
        starts = [tensor if gate is None else gate for tensor, gate in zip(region.starts, gated)]
        return starts, gated[len(region.starts) :]

    def _local(self, values: Iterable[Any]) -> list[Any]:
        """The ops behind ``values`` that are of this very graph (not of a function around it)."""
        ops_ = (getattr(value, "values", value).op for value in values)
        return [op for op in dict.fromkeys(ops_) if op.graph is self._graph]

    def _recompute(self, gates: list[Any], sources: list[Any]) -> tuple[list[Any], list[Any]]:
        """The region's outputs again, and by capture what stands for it in them."""
        region = self._region
        again: Recompute | None = getattr(region.op, _RECOMPUTE, None)
        if again is not None:
            outputs, sources = again(gates)
            return outputs, [source if differentiable(source) else None for source in sources]
        known: dict[Any, Any] = {
            key_of(tensor): tensor if source is None else source
            for tensor, source in zip(region.captures, sources)
        }
        known.update((key_of(start), gate) for start, gate in zip(region.starts, gates))
        return copy_region(self._graph, region.outputs, known, region.block), sources

    def _rebuild(self, h: Any) -> Any:
        """The stream that ``h`` is added to, by subtraction; ``None`` where it is kept."""
        sum_ = self._sum
        if sum_ is None or self._region.kept:
            return None
        y = self._notes.value(sum_.y)
        kind, operands = "Sub", [y, h]
        if sum_.op.type == "Sub":
            kind, operands = ("AddV2", [y, h]) if sum_.place == 0 else ("Sub", [h, y])
        block = self._region.block
        rebuilt = add_op(self._graph, kind, operands, "rebuilt", sum_.op.device, block)
        return rebuilt.outputs[0]

    def _differentiate(
        self, outputs: list[Any], sources: list[Any], scope: str, colocated: bool
    ) -> list[Any]:
        pairs = [(y, g) for y, g in zip(outputs, self._incoming) if g is not None]
        wanted = [source for source in sources if source is not None]
        ys, grad_ys = [y for y, _ in pairs], [grad for _, grad in pairs]
        found = iter(differentiate(ys, grad_ys, wanted, scope, colocated=colocated))
        return [None if source is None else next(found) for source in sources]

    def _behind_the_copy(self, captured: list[Any], outputs: list[Any]) -> list[Any]:
        """Holds gradients of variables that are written in place until the copy has read them.

        A reference variable shares its buffer with its reads, and a resource that is read inside
        the region is read again by the copy; an optimizer must not move either before.
        """
        results: list[Any] = []
        for tensor, grad in zip(self._region.captures, captured):
            if grad is not None and holds_reference(tensor):
                with tf.control_dependencies(self._local(outputs)):
                    grad = _held(grad)
            results.append(grad)
        return results

    def _note(self, stream: Any, captured: list[Any], started: list[Any]) -> None:
        region = self._region
        trained = Trained.of(region.op.graph)
        needed = [
            grad
            for tensor, grad in zip(region.captures, captured)
            if grad is not None and trained.reaches(tensor)
        ]
        waits = [*(grad for grad in started if grad is not None), *needed]
        if self._sum is not None:
            p = self._sum.p
            self._notes.write(p, self._notes.value(p) if region.kept else stream, waits)
        if self._sum is None or region.kept:
            for start in region.starts:
                self._notes.write(origin(start), self._notes.value(origin(start)), waits)


@dataclass(frozen=True, eq=False)
class _Sum:
    """``y = p + h``: the sum op, and the place of ``p`` among its inputs."""

    op: Any
    place: int

    @property
    def y(self) -> Any:
        return self.op.outputs[0]

    @property
    def p(self) -> Any:
        """The stream, through identities as the reader of the region above sees it."""
        return origin(self.op.inputs[self.place])


def origin(tensor: Any) -> Any:
    """The tensor ``tensor`` stands for, through identities (but not through a variable read)."""
    while tensor.op.type == "Identity":
        source = tensor.op.inputs[0]
        if source.dtype._is_ref_dtype:
            return tensor
        tensor = source
    return tensor


def _sum_behind(region: LiveRegion) -> _Sum | None:
    """The sum that alone reads the region's only output, if there is one."""
    if len(region.outputs) != 1 or len(region.starts) != 1:
        return None
    h = region.op.outputs[0]
    sums = [r for r in h.consumers() if r.type in _SUMS and len(r.inputs) == 2]
    if len(sums) != 1:
        return None
    places = [place for place, tensor in enumerate(sums[0].inputs) if tensor is not h]
    return _Sum(sums[0], places[0]) if len(places) == 1 else None


def gradient_scope(graph: Any, op: Any) -> str:
    """The scope that a differentiation works in, without the part made for ``op`` alone."""
    scope: str = graph.get_name_scope()
    parts = scope.split("/")
    depth = op.name.count("/") + 1
    own = "/".join(parts[-depth:])
    return "/".join(parts[:-depth]) if own.startswith(f"{op.name}_grad") else scope


@contextmanager
def _nowhere(graph: Any) -> Generator[None]:
    """What is added inside is placed as its original, not as the op being differentiated."""
    with graph.colocate_with(None, ignore_existing=True):
        yield


def _held(grad: Any) -> Any:
    if isinstance(grad, tf.IndexedSlices):
        return tf.IndexedSlices(tf.identity(grad.values), grad.indices, grad.dense_shape)
    return tf.identity(grad)
