"""A live ``tf.Graph`` in and out: read it as a :class:`~graphrev.ir.Graph`, replay edits on it.

Replaying keeps every Python object of the graph valid: nodes are only added, and inputs of existing
ops re-pointed with the calls TensorFlow's own control flow code uses. Those calls are harmless
until a session has run the ops they change; afterwards that session refuses to run
(c/c_api_internal.h, "RecordMutation"), so a graph that was run is refused before anything changes.

TensorFlow keeps no record of which graphs were run, so sessions are watched from the moment this
module is loaded; a session that existed before counts as having run.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from graphrev.edits import (
    AddInput,
    AddNode,
    DropInput,
    Edit,
    EditLog,
    RemoveNode,
    RenameNode,
    SetAttr,
    SetControls,
    SetFunction,
    SetInput,
)
from graphrev.errors import LiveGraphError, printable
from graphrev.io.attr_values import encode_attr
from graphrev.io.graph_defs import decode_graph
from graphrev.io.listings import variable_def
from graphrev.io.live_contexts import enter_contexts
from graphrev.io.live_functions import (
    add_functions,
    changed_functions,
    check_added,
    read_again,
    remove_functions,
    runs_functions,
)
from graphrev.io.node_defs import encode_node, spell_tensor
from graphrev.io.protos import tensorflow_core
from graphrev.io.references import VARIABLES
from graphrev.ir import Graph, Node, TensorRef
from graphrev.ir.marks import COLLECTIONS_ATTR, collections_of

_RUN: weakref.WeakSet[Any] = weakref.WeakSet()
_PLACE = "_class"
_STACKS = frozenset({"StackV2", "StackPushV2", "StackPopV2"})


def watch_sessions() -> None:
    """Starts to remember which graphs sessions run; called again it does nothing."""
    from tensorflow.python.client import session

    kind: Any = session.BaseSession
    if getattr(kind, "_graphrev_watched", False):
        return
    kind._graphrev_watched = True
    for existing in gc.get_objects():
        if isinstance(existing, kind) and not getattr(existing, "_closed", True):
            _RUN.add(existing.graph)
    original = kind._extend_graph

    def extend_graph(self: Any) -> None:
        _RUN.add(self.graph)
        original(self)

    kind._extend_graph = extend_graph


def check_untouched(tf_graph: Any) -> None:
    """Refuses a graph that cannot be changed any more.

    Raises:
        LiveGraphError: the graph is finalized, a function body, or a session has run it.
    """
    watch_sessions()
    if getattr(tf_graph, "outer_graph", None) is not None:
        raise LiveGraphError(
            "The graph is the body of a function. Rewrite the graph that calls it, or save the "
            "graph and rewrite the file."
        )
    if tf_graph.finalized:
        raise LiveGraphError(
            "The graph is finalized. Call graphrev.rewrite before tf.Graph.finalize and before a "
            "MonitoredSession or Supervisor is made."
        )
    if tf_graph in _RUN:
        raise LiveGraphError(
            "A session has run this graph already, and TensorFlow forbids to change what was run. "
            "Call graphrev.rewrite after the graph is built and before the first session.run (the "
            "initializer included), or save the graph and rewrite the file."
        )


def from_tf_graph(tf_graph: Any) -> Graph:
    """A snapshot of a live graph.

    Of its functions the snapshot knows the shapes that the Python graphs they were made of know, as
    an exported MetaGraphDef does: the gradient of a captured variable is made from its shape.
    """
    definition = tf_graph.as_graph_def()
    if definition.library.function:
        definition.library.CopyFrom(tf_graph.as_graph_def(add_shapes=True).library)
    return decode_graph(definition.SerializeToString())


def replay_on(tf_graph: Any, edits: EditLog) -> None:
    """Makes ``edits`` on the live graph they were planned for.

    Raises:
        LiveGraphError: the graph cannot be changed, or an edit cannot be made on a live graph
            (removing or renaming a node, changing a function instead of adding one). The stacks of
            while loops are left there unread, which comes to the same: no session runs them.
    """
    check_untouched(tf_graph)
    stacks = _parts_of_stacks(edits)
    edits = tuple(e for e in edits if not (isinstance(e, RemoveNode) and e.node.name in stacks))
    functions = changed_functions(edits)
    _refuse_impossible(edits)
    check_added(tf_graph, functions)
    add_functions(tf_graph, functions)
    final: dict[str, Node] = {}
    for edit in edits:
        if isinstance(edit, AddNode):
            final[edit.node.name] = edit.node
    changes = [edit for edit in edits if not isinstance(edit, AddNode | SetFunction)]
    _import(tf_graph, final)
    for edit in changes:
        _change(tf_graph, edit)
    remove_functions(tf_graph, functions)
    if functions:
        _read_functions(tf_graph, changes)
    _enter_collections(tf_graph, edits)


def _parts_of_stacks(edits: Iterable[Edit]) -> frozenset[str]:
    """Removed stacks, their pushes and pops, and what only handed their handles on."""
    found: set[str] = set()
    feeds: set[str] = set()
    for edit in edits:
        if isinstance(edit, RemoveNode) and (edit.node.op in _STACKS or edit.node.name in feeds):
            found.add(edit.node.name)
            feeds.update(ref.node for ref in edit.node.inputs[:1])
    return frozenset(found)


def _refuse_impossible(edits: Iterable[Edit]) -> None:
    for edit in edits:
        if isinstance(edit, AddInput | DropInput):
            raise LiveGraphError(
                f"'{printable(edit.node)}' cannot be given more or fewer inputs in a live graph. "
                "Create the tf.train.Saver after rewriting, or save the graph and rewrite the file."
            )
        if isinstance(edit, RemoveNode | RenameNode):
            name = edit.node.name if isinstance(edit, RemoveNode) else edit.old
            raise LiveGraphError(
                f"'{printable(name)}' cannot be removed or renamed in a live graph: Python objects "
                "may hold it. Save the graph and rewrite the file."
            )


def _import(tf_graph: Any, added: dict[str, Node]) -> None:
    """Adds nodes; what they read from the existing graph is mapped to its live tensors."""
    import tensorflow as tf

    if not added:
        return
    definition: Any = tf.compat.v1.GraphDef()
    outside: dict[str, Any] = {}
    for node in added.values():
        inside = tuple(source for source in node.control_inputs if source in added)
        bare = node.with_attr(_PLACE, None).evolve(control_inputs=inside)
        definition.node.add().MergeFromString(encode_node(bare))
        for ref in node.inputs:
            if ref.node not in added:
                outside[spell_tensor(ref)] = _tensor(tf_graph, ref)
    definition.versions.CopyFrom(tf_graph.graph_def_versions)
    with (
        tf_graph.as_default(),
        tf_graph.control_dependencies(None),
        tf_graph.name_scope(None),
        tf_graph.device(None),
        _inputs_from_loops(),
    ):
        tf.import_graph_def(definition, input_map=outside, name="")
    enter_contexts(tf_graph, added)
    for name, node in added.items():
        waits = [source for source in node.control_inputs if source not in added]
        _add_controls(tf_graph, name, waits)
        if _PLACE in node.attrs:
            _set_attr(tf_graph, name, _PLACE, node.attrs[_PLACE])


@contextmanager
def _inputs_from_loops() -> Generator[None]:
    """Lets imported nodes read nodes inside while loops.

    TensorFlow's check knows loops by the Python context an op was built in, which imported nodes
    have none of; what is added here lies in the right frames by construction.
    """
    from tensorflow.python.ops import control_flow_util

    module: Any = control_flow_util
    check = module.CheckInputFromValidContext
    module.CheckInputFromValidContext = lambda op, input_op: None  # pyright: ignore
    try:
        yield
    finally:
        module.CheckInputFromValidContext = check


def _add_controls(tf_graph: Any, name: str, sources: Iterable[str]) -> None:
    """Adds control edges; those to an op without outputs have no form in an input map."""
    operations = [tf_graph.get_operation_by_name(source) for source in sources]
    if operations:
        tf_graph.get_operation_by_name(name)._add_control_inputs(operations)


def _tensor(tf_graph: Any, ref: TensorRef) -> Any:
    return tf_graph.get_operation_by_name(ref.node).outputs[ref.index]


def _change(tf_graph: Any, edit: Edit) -> None:
    match edit:
        case SetInput():
            operation = tf_graph.get_operation_by_name(edit.node)
            operation._update_input(edit.position, _tensor(tf_graph, edit.new))
        case SetControls():
            _set_controls(tf_graph, edit)
        case SetAttr():
            _set_attr(tf_graph, edit.node, edit.key, edit.new)
        case _:
            raise AssertionError(edit)


def _read_functions(tf_graph: Any, changes: Iterable[Edit]) -> None:
    """Lets the ops whose functions may be others read them."""
    names = dict.fromkeys(edit.node for edit in changes if isinstance(edit, SetAttr))
    operations = (tf_graph.get_operation_by_name(name) for name in names)
    read_again(op for op in operations if runs_functions(op.type))


def _set_controls(tf_graph: Any, edit: SetControls) -> None:
    missing = edit.new
    if set(edit.old) <= set(edit.new):
        missing = tuple(source for source in edit.new if source not in edit.old)
    else:
        tf_graph.get_operation_by_name(edit.node)._remove_all_control_inputs()
    _add_controls(tf_graph, edit.node, missing)


def _set_attr(tf_graph: Any, name: str, key: str, value: Any) -> None:
    operation = tf_graph.get_operation_by_name(name)
    if value is None:
        operation._clear_attr(key)
    else:
        operation._set_attr(
            key,
            tensorflow_core("framework.attr_value_pb2").AttrValue.FromString(encode_attr(value)),
        )


def _enter_collections(tf_graph: Any, edits: EditLog) -> None:
    """Puts added nodes into the collections they are marked with; variables as Python objects."""
    listed = {edit.node.name for edit in edits if isinstance(edit, AddNode)}
    listed |= {e.node for e in edits if isinstance(e, SetAttr) and e.key == COLLECTIONS_ATTR}
    now = from_tf_graph(tf_graph) if listed else Graph.of(())
    known = {v.op.name: v for v in tf_graph.get_collection("variables")}
    slices = {name: s for name, v in known.items() if (s := _slice(v)) is not None}
    for name in now.nodes:
        for key in collections_of(now[name]) if name in listed else ():
            item = known.get(name)
            if item is None and key in VARIABLES:
                item = known[name] = _variable(tf_graph, variable_def(now, name, slices))
            if item is None:
                operation = tf_graph.get_operation_by_name(name)
                item = operation.outputs[0] if operation.outputs else operation
            if all(item is not other for other in tf_graph.get_collection_ref(key)):
                tf_graph.add_to_collection(key, item)


def _slice(variable: Any) -> bytes | None:
    info: Any = getattr(variable, "_save_slice_info", None)
    return None if info is None else info.to_proto().SerializeToString()


def _variable(tf_graph: Any, definition: bytes) -> Any:
    """The variable as what ``tf.train.import_meta_graph`` makes of its VariableDef."""
    from tensorflow.python.framework import ops

    proto = tensorflow_core("framework.variable_pb2").VariableDef.FromString(definition)
    made: Any = ops.get_from_proto_function("variables")
    with tf_graph.as_default():
        return made(proto)
