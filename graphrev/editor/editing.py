"""The only source of changed graphs.

A :class:`GraphEditor` starts from a frozen graph, changes a private copy of its node table and
logs every edit. ``finish`` returns the new frozen graph and the log. The graph it started from is
never touched, so a pass that fails half-way leaves nothing behind. Cost is linear in the edits,
plus one shallow copy of the node table.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from graphrev.editor.renaming import one_by_one, rename_nodes, renamed_readers
from graphrev.edits import (
    AddInput,
    AddNode,
    Cause,
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
from graphrev.errors import GraphrevError
from graphrev.ir import AttrValue, Function, Graph, Node, TensorRef


class EditError(GraphrevError):
    """An edit that makes no sense on the graph it is applied to: a fault in a pass."""


class GraphEditor:
    """Edits a copy of ``graph`` and remembers every edit.

    Args:
        graph: the graph to start from; it is not changed.
        cause: the cause of edits made outside any :meth:`because` block.
    """

    def __init__(self, graph: Graph, cause: Cause | None = None) -> None:
        self._base = graph
        self._nodes: dict[str, Node] = dict(graph.nodes)
        self._functions: dict[str, Function] = dict(graph.functions)
        self._log: list[Edit] = []
        self._cause = cause or Cause(pass_name="edit")
        self._taken: dict[str, int] = {}
        self._added_readers: dict[str, dict[str, None]] = {}

    @property
    def graph(self) -> Graph:
        """The graph the editor started from."""
        return self._base

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        """The node as it is now.

        Raises:
            EditError: there is no such node.
        """
        try:
            return self._nodes[name]
        except KeyError:
            raise EditError(f"There is no node '{name}' to edit.") from None

    @contextmanager
    def because(self, subject: str, reason: str) -> Generator[None]:
        """Edits made inside are logged with this subject and reason."""
        outer = self._cause
        self._cause = Cause(outer.pass_name, subject, reason)
        try:
            yield
        finally:
            self._cause = outer

    def unique_name(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ``wanted_2`` … when it is taken (as tf.Graph does)."""
        if wanted not in self._nodes:
            return wanted
        count = self._taken.get(wanted, 0)
        while True:
            count += 1
            name = f"{wanted}_{count}"
            if name not in self._nodes:
                self._taken[wanted] = count
                return name

    def add(self, node: Node, origin: str | None = None) -> str:
        """Adds ``node`` at the end of the graph and returns its name.

        Args:
            node: the node to add; its name must be free.
            origin: the node it is a clone of, for reports and for collections that list nodes.

        Raises:
            EditError: the name is taken.
        """
        if node.name in self._nodes:
            raise EditError(f"A node '{node.name}' exists already.")
        self._nodes[node.name] = node
        self._log.append(AddNode(node, origin, self._cause))
        for source in (*(ref.node for ref in node.inputs), *node.control_inputs):
            self._added_readers.setdefault(source, {})[node.name] = None
        return node.name

    def clone(
        self,
        name: str,
        new_name: str,
        inputs: tuple[TensorRef, ...],
        control_inputs: tuple[str, ...],
        attrs: Mapping[str, AttrValue] | None = None,
    ) -> str:
        """Adds a copy of node ``name`` that reads ``inputs``; device, attributes, placement kept.

        Args:
            attrs: attributes to set on the copy beside those of the original.
        """
        original = self[name]
        merged = {**original.attrs, **(attrs or {})}
        copy = original.evolve(
            name=self.unique_name(new_name),
            inputs=inputs,
            control_inputs=control_inputs,
            attrs=MappingProxyType(merged),
            extra=b"",
        )
        return self.add(copy, origin=name)

    def set_input(self, name: str, position: int, new: TensorRef) -> None:
        """Rewires data input ``position`` of node ``name`` to ``new``.

        Raises:
            EditError: there is no such input.
        """
        node = self[name]
        if not 0 <= position < len(node.inputs):
            raise EditError(
                f"Node '{name}' has {len(node.inputs)} inputs, so there is no input {position}."
            )
        old = node.inputs[position]
        if old == new:
            return
        inputs = (*node.inputs[:position], new, *node.inputs[position + 1 :])
        self._nodes[name] = node.evolve(inputs=inputs)
        self._log.append(SetInput(name, position, old, new, self._cause))
        self._added_readers.setdefault(new.node, {})[name] = None

    def add_input(self, name: str, new: TensorRef) -> None:
        """Makes node ``name`` read ``new`` behind its other data inputs."""
        node = self[name]
        self._nodes[name] = node.evolve(inputs=(*node.inputs, new))
        self._log.append(AddInput(name, new, self._cause))
        self._added_readers.setdefault(new.node, {})[name] = None

    def drop_input(self, name: str) -> None:
        """Takes the last data input of node ``name`` away."""
        node = self[name]
        self._nodes[name] = node.evolve(inputs=node.inputs[:-1])
        self._log.append(DropInput(name, node.inputs[-1], self._cause))

    def redirect(self, old: TensorRef, new: TensorRef, readers: Iterable[str]) -> int:
        """Makes every one of ``readers`` read ``new`` where it read ``old``; returns how often."""
        count = 0
        for reader in readers:
            for position, ref in enumerate(self[reader].inputs):
                if ref == old:
                    self.set_input(reader, position, new)
                    count += 1
        return count

    def add_controls(self, name: str, sources: Iterable[str]) -> None:
        """Makes node ``name`` wait for ``sources`` as well."""
        node = self[name]
        new = tuple(dict.fromkeys((*node.control_inputs, *sources)))
        self.set_controls(name, new)

    def set_controls(self, name: str, new: tuple[str, ...]) -> None:
        """Replaces the control inputs of node ``name``."""
        node = self[name]
        if new == node.control_inputs:
            return
        self._nodes[name] = node.evolve(control_inputs=new)
        self._log.append(SetControls(name, node.control_inputs, new, self._cause))
        for source in new:
            self._added_readers.setdefault(source, {})[name] = None

    def set_attr(self, name: str, key: str, value: AttrValue | None) -> None:
        """Sets attribute ``key`` of node ``name``, or removes it when ``value`` is ``None``."""
        node = self[name]
        old = node.attrs.get(key)
        if old == value and repr(old) == repr(value):  # 1, True and 1.0 are equal; so is -0.0
            return
        self._nodes[name] = node.with_attr(key, value)
        self._log.append(SetAttr(name, key, old, value, self._cause))

    def remove(self, name: str) -> None:
        """Removes node ``name``.

        Raises:
            EditError: something still reads it or waits for it.
        """
        node = self[name]
        reader = next(iter(self.readers(name)), None)
        if reader is not None:
            raise EditError(f"Node '{name}' cannot be removed: '{reader}' still uses it.")
        del self._nodes[name]
        self._log.append(RemoveNode(node, self._cause))

    def readers(self, name: str) -> Iterator[str]:
        """The nodes that read an output of ``name`` or wait for it, as things are now."""
        known = (
            *self._base.readers.get(name, ()),
            *self._base.control_readers.get(name, ()),
            *self._added_readers.get(name, ()),
        )
        for reader in dict.fromkeys(known):
            node = self._nodes.get(reader)
            if node is None:
                continue
            if name in node.control_inputs or any(ref.node == name for ref in node.inputs):
                yield reader

    def rename(self, old: str, new: str) -> None:
        """Gives node ``old`` the free name ``new``; its readers follow, in its old place.

        Raises:
            EditError: ``new`` is taken.
        """
        if new in self._nodes:
            raise EditError(f"Node '{old}' cannot be renamed: '{new}' exists already.")
        self.rename_all({old: new})

    def rename_all(self, names: Mapping[str, str]) -> None:
        """Renames many nodes at once, in one pass over the graph; names may be swapped.

        Raises:
            EditError: a node does not exist, or a new name is not free once all are renamed.
        """
        names = {old: new for old, new in names.items() if old != new}
        new_names = set[str]()
        for old, new in names.items():
            _ = self[old]
            if new in new_names or (new in self._nodes and new not in names):
                raise EditError(f"Node '{old}' cannot be renamed: '{new}' exists already.")
            new_names.add(new)
        steps = tuple(one_by_one(names, self._nodes))
        renamed = rename_nodes(self._nodes, names)
        self._added_readers = renamed_readers(self._nodes, names, self._added_readers)
        self._nodes = renamed
        self._log.extend(RenameNode(old, new, self._cause) for old, new in steps)

    def set_function(self, name: str, new: Function | None) -> None:
        """Puts ``new`` into the library under ``name``, or takes that function out of it."""
        old = self._functions.get(name)
        if old is new:
            return
        if new is None:
            del self._functions[name]
        else:
            self._functions[name] = new
        self._log.append(SetFunction(name, old, new, self._cause))

    def finish(self) -> tuple[Graph, EditLog]:
        """The changed graph and the log; the very same graph when nothing was edited."""
        if not self._log:
            return self._base, ()
        changed = replace(
            self._base,
            nodes=MappingProxyType(dict(self._nodes)),
            functions=MappingProxyType(dict(self._functions)),
        )
        return changed, tuple(self._log)
