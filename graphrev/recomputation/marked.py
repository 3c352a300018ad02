"""Adds nodes that say what they were added for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graphrev.editor import GraphEditor
from graphrev.ir import AttrValue, Node


def add_marked(editor: GraphEditor, node: Node, marks: Mapping[str, AttrValue]) -> str:
    """Adds a node under its name, or one like it that is free, with ``marks`` among its attributes.

    Returns:
        the name it got.
    """
    attrs = MappingProxyType({**node.attrs, **marks})
    return editor.add(node.evolve(name=editor.unique_name(node.name), attrs=attrs))
