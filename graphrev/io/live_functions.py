"""The function library of a live graph.

What functional control flow runs is named by an attribute, which TensorFlow itself exchanges while
it differentiates (python/ops/while_v2.py, "_set_func_attr"). Beside the attribute an op holds the
Python graphs its functions were made of, which the gradient is made from. These are made again from
the functions of the library, as TensorFlow does it for an imported graph
(python/ops/control_flow_util_v2.py, "get_func_graph"), for all functions of an op: a branch that
was built is not matched with one that was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphrev.edits import EditLog, SetFunction
from graphrev.errors import LiveGraphError, printable
from graphrev.io.functions import encode_library_function
from graphrev.ir import Function

_LOOPS = ("While", "StatelessWhile")
_HELD = {
    **dict.fromkeys(_LOOPS, (("cond", "_cond_graph"), ("body", "_body_graph"))),
    **dict.fromkeys(
        ("If", "StatelessIf"), (("then_branch", "_true_graph"), ("else_branch", "_false_graph"))
    ),
    **dict.fromkeys(("Case", "StatelessCase"), (("branches", "_branch_graph_"),)),
}
"""By op type the attributes that name functions, and what holds the Python graphs of these."""


def runs_functions(op_type: str) -> bool:
    """Whether ops of that type hold Python graphs of the functions they run."""
    return op_type in _HELD


def changed_functions(edits: EditLog) -> dict[str, Function | None]:
    """By name the functions that ``edits`` add in the end, and ``None`` for those they take out."""
    first: dict[str, Function | None] = {}
    last: dict[str, Function | None] = {}
    for edit in edits:
        if isinstance(edit, SetFunction):
            first.setdefault(edit.name, edit.old)
            last[edit.name] = edit.new
    return {name: new for name, new in last.items() if new is not first[name]}


def check_added(tf_graph: Any, changed: Mapping[str, Function | None]) -> None:
    """Refuses functions whose names are taken.

    Raises:
        LiveGraphError: the live graph has a function of such a name.
    """
    for name, function in changed.items():
        if function is not None and tf_graph._is_function(name):
            raise LiveGraphError(
                f"Function '{printable(name)}' cannot be changed in a live graph: Python objects "
                "may hold it. Save the graph and rewrite the file."
            )


def add_functions(tf_graph: Any, changed: Mapping[str, Function | None]) -> None:
    """Adds the functions that are new."""
    import tensorflow as tf

    definition: Any = tf.compat.v1.GraphDef()
    for function in changed.values():
        if function is not None:
            raw = encode_library_function(function)
            definition.library.function.add().MergeFromString(raw)
    if not definition.library.function:
        return
    definition.versions.CopyFrom(tf_graph.graph_def_versions)
    with tf_graph.as_default(), tf_graph.name_scope(None):
        tf.import_graph_def(definition, name="")


def remove_functions(tf_graph: Any, changed: Mapping[str, Function | None]) -> None:
    """Takes out the functions that nothing runs any more; who holds one can add it again."""
    for name, function in changed.items():
        if function is None and tf_graph._is_function(name):
            tf_graph._remove_function(name)


def read_again(operations: Iterable[Any]) -> None:
    """Gives ``operations`` Python graphs of the functions they now run, and those within, theirs.

    TensorFlow would make a new one for each differentiation, without what is known of captured
    variables: the second differentiation of a loop in a loop then finds no gradient of them.
    """
    from tensorflow.python.framework import tensor_shape
    from tensorflow.python.ops import control_flow_util_v2, handle_data_util

    util: Any = control_flow_util_v2
    copy: Any = handle_data_util.copy_handle_data
    pending = list(operations)
    while pending:
        operation = pending.pop()
        arguments = operation.inputs if operation.type in _LOOPS else operation.inputs[1:]
        shapes = [tensor.shape for tensor in arguments]
        if operation.type in _LOOPS:
            listed = operation.get_attr("output_shapes")
            shapes = [tensor_shape.TensorShape(shape) for shape in listed]
        for held, function in _functions_of(operation):
            graph = util.get_func_graph(operation, shapes, function)
            setattr(operation, held, graph)
            for outside, inside in zip(arguments, graph.inputs):
                copy(outside, inside)
            pending.extend(op for op in graph.get_operations() if op.type in _HELD)
            if held != "_cond_graph":
                for inside, outside in zip(graph.outputs, operation.outputs):
                    copy(inside, outside)


def _functions_of(operation: Any) -> Iterator[tuple[str, str]]:
    """The functions that an op runs, each with the name it holds its Python graph by."""
    for key, held in _HELD[operation.type]:
        value = operation.get_attr(key)
        if isinstance(value, list):
            yield from ((f"{held}{place}", item.name) for place, item in enumerate(value))
        else:
            yield held, value.name
