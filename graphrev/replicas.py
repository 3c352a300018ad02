"""Copies of regions of a live graph, and what a copy must know about the tensors it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow

from graphrev.analysis import ops
from graphrev.analysis.buffers import shared_place
from graphrev.ir.deferred import BLOCK_ATTR, CLONE_ATTR
from graphrev.ir.marks import NO_REWRITE_ATTR, PAIR_ATTR

tf: Any = tensorflow.compat.v1
_TRAINED = "_graphrev_trained"
_DROPPED = (PAIR_ATTR, NO_REWRITE_ATTR)
_WALK = 64
"""Ops that are looked at to find out whether a capture comes from a variable."""


def copy_region(
    graph: Any, outputs: Sequence[Any], known: Mapping[Any, Any], block: bytes
) -> list[Any]:
    """Copies what ``outputs`` are computed from, down to ``known`` tensors.

    Args:
        graph: the graph to copy into, the one that is being built.
        outputs: tensors of the same graph, or of one around it.
        known: by ``(id of graph, id of op, output index)`` what the copy reads instead. Ops that
            read nothing are read as they are.
        block: the block the copies are made for.

    Returns:
        The tensors that stand for ``outputs``. Devices, colocation and static shapes are kept;
        control inputs are not: what they wait for has run in the forward pass.
    """
    copies: dict[Any, Any] = {}
    pending = [tensor.op for tensor in reversed(outputs) if key_of(tensor) not in known]
    while pending:
        op = pending[-1]
        missing = [
            tensor.op
            for tensor in op.inputs
            if key_of(tensor) not in known and tensor.op not in copies
        ]
        if missing and op not in copies:
            pending.extend(missing)
            continue
        pending.pop()
        if op not in copies:
            inputs = [_copied(tensor, known, copies) for tensor in op.inputs]
            copies[op] = _copy(graph, op, inputs, block) if inputs else op
    return [_copied(tensor, known, copies) for tensor in outputs]


def _copied(tensor: Any, known: Mapping[Any, Any], copies: Mapping[Any, Any]) -> Any:
    stand_in = known.get(key_of(tensor))
    return copies[tensor.op].outputs[tensor.value_index] if stand_in is None else stand_in


def _copy(graph: Any, op: Any, inputs: Sequence[Any], block: bytes) -> Any:
    attrs = {key: value for key, value in op.node_def.attr.items() if key not in _DROPPED}
    attrs.setdefault(BLOCK_ATTR, tf.AttrValue(s=block))
    attrs[CLONE_ATTR] = tf.AttrValue(s=op.name.encode())
    copy = graph._create_op_internal(
        op.type,
        inputs,
        dtypes=[tensor.dtype for tensor in op.outputs],
        name=op.name,
        attrs=attrs,
        op_def=op.op_def,
        compute_device=False,
    )
    copy._set_device(op.device)
    for new, old in zip(copy.outputs, op.outputs):
        if not new.shape.is_fully_defined():
            new.set_shape(old.shape)
    return copy


def add_op(
    graph: Any, kind: str, inputs: Sequence[Any], name: str, device: str, block: bytes
) -> Any:
    """Adds an ``IdentityN``, ``AddV2`` or ``Sub`` for ``block``, on ``device``.

    The public functions do the same at three times the cost, which a graph of many regions feels.
    """
    types = [tensor.dtype.base_dtype.as_datatype_enum for tensor in inputs]
    value = tf.AttrValue(list=tf.AttrValue.ListValue(type=types))
    if kind != "IdentityN":
        value = tf.AttrValue(type=types[0])
    attrs = {"T": value, BLOCK_ATTR: tf.AttrValue(s=block)}
    op = graph._create_op_internal(kind, inputs, name=name, attrs=attrs, compute_device=False)
    op._set_device(device)
    return op


def key_of(tensor: Any) -> Any:
    """Identifies a tensor among those of all graphs that are alive."""
    return (id(tensor.graph), tensor.op._id, tensor.value_index)


def differentiable(tensor: Any) -> bool:
    """Whether a capture may receive a gradient."""
    dtype = tensor.dtype.base_dtype
    return dtype.is_floating or dtype.is_complex or dtype.name in ("resource", "variant")


def holds_reference(tensor: Any) -> bool:
    """Whether a variable may change under a capture: a reference, its read, or a resource."""
    if tensor.dtype._is_ref_dtype or tensor.dtype.name == "resource":
        return True
    while (place := _shared(tensor)) is not None:
        tensor = tensor.op.inputs[place]
    return tensor.dtype._is_ref_dtype


def _shared(tensor: Any) -> int | None:
    return shared_place(tensor.op.type, len(tensor.op.inputs), tensor.value_index)


@dataclass(frozen=True, eq=False)
class Trained:
    """Which captures somebody is likely to ask the gradient of.

    Waiting for a gradient makes it run, so the gradient of a dropout mask or of a frozen variable
    must not be waited for. A capture counts when it comes from a variable that is trainable (or
    when the graph names no trainable variable: an imported graph).

    Attributes:
        graph: the graph.
        names: names of the ops of trainable variables.
    """

    graph: Any
    names: frozenset[str]

    @classmethod
    def of(cls, graph: Any) -> Trained:
        """The trainable variables of ``graph``."""
        variables = graph.get_collection_ref("trainable_variables")
        kept: tuple[int, Trained] | None = getattr(graph, _TRAINED, None)
        if kept is None or kept[0] != len(variables):
            handles = (getattr(variable, "handle", variable) for variable in variables)
            kept = (len(variables), cls(graph, frozenset(handle.op.name for handle in handles)))
            setattr(graph, _TRAINED, kept)
        return kept[1]

    def reaches(self, tensor: Any) -> bool:
        """Whether ``tensor`` is computed from a trainable variable."""
        inside_function = getattr(self.graph, "outer_graph", None) is not None
        seen, pending = {tensor.op}, [tensor.op]
        while pending and len(seen) < _WALK:
            op = pending.pop()
            if ops.is_variable(op.type):
                if not self.names or op.name in self.names:
                    return True
                continue
            if inside_function and ops.is_placeholder(op.type):
                return True
            fresh = [source.op for source in op.inputs if source.op not in seen]
            seen.update(fresh)
            pending.extend(fresh)
        return len(seen) >= _WALK
