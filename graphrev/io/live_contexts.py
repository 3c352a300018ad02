"""The control-flow contexts of nodes that are added to a live graph.

TensorFlow 1 differentiates an op where its context says that it is: one in the body of a while loop
gets its gradient in the body of the gradient loop. An imported node has no context of its own
(python/framework/importer.py), so it gets that of what it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphrev.ir import Node

_CONTROL_FLOW = frozenset(
    f"{kind}{op}"
    for kind in ("", "Ref")
    for op in ("Enter", "Exit", "Merge", "NextIteration", "Switch")
)


def enter_contexts(tf_graph: Any, added: Mapping[str, Node]) -> None:
    """Puts added nodes into the innermost loop or branch that they read a tensor of."""
    pending = list(added)[::-1]
    seen: set[str] = set()
    while pending:
        name = pending[-1]
        if name not in seen:
            seen.add(name)
            sources = (ref.node for ref in added[name].inputs)
            pending.extend(s for s in sources if s in added and s not in seen)
            continue
        pending.pop()
        operation = tf_graph.get_operation_by_name(name)
        if operation.type not in _CONTROL_FLOW:
            _enter_context(operation)


def _enter_context(operation: Any) -> None:
    from tensorflow.python.ops import control_flow_util

    util: Any = control_flow_util
    if operation._get_control_flow_context() is not None:
        return
    found = [util.GetOutputContext(tensor.op) for tensor in operation.inputs]
    innermost = max(filter(None, found), key=_depth, default=None)
    if innermost is not None:
        operation._set_control_flow_context(innermost)
        for tensor in operation.outputs:
            innermost.AddName(tensor.name)


def _depth(context: Any) -> int:
    outer = context.outer_context
    return 1 if outer is None else 1 + _depth(outer)
