"""Where an op is being built: a plain graph, a function's body, a loop of TensorFlow 1."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import tensorflow

tf: Any = tensorflow.compat.v1
_func_graphs: Any = importlib.import_module("tensorflow.python.ops.control_flow_v2_func_graphs")


def in_this_context(tensor: Any) -> bool:
    """Whether ``tensor`` belongs to the graph and the loop body that is being built."""
    graph = tf.get_default_graph()
    if tensor.graph is not graph:
        return False
    loop = _loop(tensor.op._get_control_flow_context())
    return loop is None or loop is _loop(graph._get_control_flow_context())


def in_function_loop(graph: Any = None) -> bool:
    """Whether ``graph`` (by default the current one) is a loop's or a branch's."""
    kinds = (
        _func_graphs.WhileBodyFuncGraph,
        _func_graphs.WhileCondFuncGraph,
        _func_graphs.CondBranchFuncGraph,
    )
    asked = tf.get_default_graph() if graph is None else graph
    if isinstance(asked, kinds) or hasattr(asked, "_forward_graph"):
        return True
    return graph is None and _loop(asked._get_control_flow_context()) is not None


def variables_of(variables: Sequence[Any]) -> list[Any]:
    """By variable the tensor that stands for it in what is being built.

    In a function's body that is its capture, in a loop of TensorFlow 1 the tensor that enters the
    loop; elsewhere the variable's own handle (or reference).
    """
    graph = tf.get_default_graph()
    loop = _loop(graph._get_control_flow_context())
    found: list[Any] = []
    for variable in variables:
        tensor = handle_of(variable)
        if tensor.graph is not graph and hasattr(graph, "capture"):
            tensor = graph.capture(tensor)
        if loop is not None and _loop(tensor.op._get_control_flow_context()) is not loop:
            tensor = loop.AddValue(tensor)
        found.append(tensor)
    return found


def handle_of(variable: Any) -> Any:
    """The tensor that holds a variable: its handle or reference; a tensor stands for itself."""
    if hasattr(variable, "handle"):
        return variable.handle
    return variable._ref() if isinstance(variable, tf.Variable) else variable


def outermost(tensor: Any) -> Any:
    """The tensor of the outermost graph that ``tensor`` was captured from."""
    while getattr(tensor.graph, "outer_graph", None) is not None:
        outer = next((out for out, inner in tensor.graph.captures if inner is tensor), None)
        if outer is None:
            return tensor
        tensor = outer
    return tensor


def _loop(context: Any) -> Any:
    """The innermost while loop a control flow context lies in."""
    while context is not None and not context.IsWhileContext():
        context = context.outer_context
    return context
