"""Makes logged edits again, on the graph they were made on or on one like it."""

from __future__ import annotations

from itertools import groupby

from graphrev.editor.editing import GraphEditor
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
    final_names,
)
from graphrev.ir import Graph


def make_edits(editor: GraphEditor, log: EditLog) -> None:
    """Makes the edits of ``log`` with ``editor``, each because of what it was first made for."""
    for edit in log:
        with editor.because(edit.cause.subject, edit.cause.reason):
            _replay_one(editor, edit)


def replay(graph: Graph, log: EditLog) -> Graph:
    """The graph that results from making the edits of ``log`` on ``graph``."""
    editor = GraphEditor(graph)
    for renaming, edits in groupby(log, lambda edit: isinstance(edit, RenameNode)):
        if renaming:
            editor.rename_all(final_names(edits))
            continue
        for edit in edits:
            _replay_one(editor, edit)
    return editor.finish()[0]


def _replay_one(editor: GraphEditor, edit: Edit) -> None:
    match edit:
        case AddNode():
            editor.add(edit.node, edit.origin)
        case RemoveNode():
            editor.remove(edit.node.name)
        case RenameNode():
            editor.rename(edit.old, edit.new)
        case SetFunction():
            editor.set_function(edit.name, edit.new)
        case _:
            _change_one(editor, edit)


def _change_one(
    editor: GraphEditor, edit: SetInput | AddInput | DropInput | SetControls | SetAttr
) -> None:
    match edit:
        case SetInput():
            editor.set_input(edit.node, edit.position, edit.new)
        case AddInput():
            editor.add_input(edit.node, edit.new)
        case DropInput():
            editor.drop_input(edit.node)
        case SetControls():
            editor.set_controls(edit.node, edit.new)
        case SetAttr():
            editor.set_attr(edit.node, edit.key, edit.new)
