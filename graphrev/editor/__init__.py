"""The only source of changed graphs."""

from graphrev.editor.editing import EditError, GraphEditor
from graphrev.editor.renaming import rename_nodes
from graphrev.editor.replaying import make_edits, replay

__all__ = ["EditError", "GraphEditor", "make_edits", "rename_nodes", "replay"]
