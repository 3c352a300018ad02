"""Keeps in-place updates of reference variables behind the copies that read the old value.

The read of a reference variable is an Identity that shares the variable's buffer, so an optimizer
that writes in place (``ApplyGradientDescent`` on a ref) changes what a later copy would read. In
the plain graph the gates of ``tf.gradients`` keep such readers ahead of the update; copies need
the same. A read of a resource variable is a snapshot and needs nothing
(core/kernels/training_op_helpers.h, "PrepareToUpdateVariable").

Only updates that come after what is recomputed are held back: an initializer or a restore op must
not start to depend on the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphrev.analysis import ops
from graphrev.analysis.buffers import shared_input
from graphrev.ir import TensorRef
from graphrev.recomputation.facts import Facts

_REFERENCES = frozenset(
    {"RefEnter", "RefExit", "RefIdentity", "RefMerge", "RefNextIteration", "RefSwitch"}
)
"""They hand a reference on."""

_REFERENCE_VARIABLES = frozenset({"Variable", "VariableV2", "TemporaryVariable"})


def is_reference(op: str) -> bool:
    """Whether the op is a reference variable."""
    return op in _REFERENCE_VARIABLES


def buffer_owner(around: Facts, tensor: TensorRef) -> str | None:
    """The reference variable whose buffer ``tensor`` shares, if any."""
    while (source := shared_input(around.graph, tensor)) is not None:
        tensor = source
    return tensor.node if is_reference(around.graph[tensor.node].op) else None


def later_updates(around: Facts, variable: str, last: str) -> Iterator[str]:
    """Ops that write ``variable`` in place and can only run in a step's backward pass.

    Args:
        variable: a reference variable.
        last: the last node that is recomputed; updates before it belong to the forward pass.
    """
    floor = around.position(last)
    for writer in _writers(around, variable):
        if around.position(writer) > floor and _is_driven(around, writer):
            yield writer


def early_updates(around: Facts, variable: str) -> Iterator[str]:
    """Ops that write ``variable`` in place, and not because of a gradient."""
    return (w for w in _writers(around, variable) if not _is_driven(around, w))


def _writers(around: Facts, variable: str) -> Iterator[str]:
    for reader in _reference_readers(around, variable):
        node = around.graph[reader]
        written = ops.mutates_ref_input(node.op)
        if any(_refers_to(around, node.inputs[slot], variable) for slot in written):
            yield reader


def _reference_readers(around: Facts, variable: str) -> Iterable[str]:
    """Readers of the variable, through ops that hand its reference on."""
    seen: dict[str, None] = {}
    pending = [variable]
    while pending:
        for reader in around.graph.readers.get(pending.pop(), ()):
            if reader not in seen:
                seen[reader] = None
                op = around.graph[reader].op
                if op in _REFERENCES or ops.mutates_ref_input(op):
                    pending.append(reader)
    return seen


def _refers_to(around: Facts, ref: TensorRef, variable: str) -> bool:
    while ref.node != variable:
        node = around.graph[ref.node]
        if node.op not in _REFERENCES and (ref.index != 0 or not ops.mutates_ref_input(node.op)):
            return False
        ref = node.inputs[0]
    return True


def _is_driven(around: Facts, name: str) -> bool:
    """Whether an update depends on more than constants and its own variable: on a gradient."""
    node = around.graph[name]
    return ops.is_optimizer_apply(node.op) or name in around.gradient_side
