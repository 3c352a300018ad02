"""Renames nodes of a node table with every edge and colocation following."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from itertools import count

from graphrev.ir import Node


def rename_nodes(nodes: Mapping[str, Node], names: Mapping[str, str]) -> dict[str, Node]:
    """The node table with nodes renamed and every edge and colocation following."""
    loc = {f"loc:@{old}".encode(): f"loc:@{new}".encode() for old, new in names.items()}
    result: dict[str, Node] = {}
    for name, node in nodes.items():
        changed = _renamed(node, names, loc)
        result[names.get(name, name)] = changed
    return result


def one_by_one(names: Mapping[str, str], taken: Container[str]) -> Iterator[tuple[str, str]]:
    """The renames in an order that keeps every new name free; rings go over a spare name."""
    pending = dict(names)
    new_names = frozenset(names.values())
    for start in names:
        chain: list[tuple[str, str]] = []
        end = start
        while end in pending:
            chain.append((end, pending.pop(end)))
            end = chain[-1][1]
        if chain and end == start:
            numbers = (f"{start}_renamed_{number}" for number in count())
            spare = next(name for name in numbers if name not in taken and name not in new_names)
            yield start, spare
            chain[0] = (spare, chain[0][1])
        yield from reversed(chain)


def _renamed(node: Node, names: Mapping[str, str], loc: Mapping[bytes, bytes]) -> Node:
    edges = any(ref.node in names for ref in node.inputs)
    controls = any(source in names for source in node.control_inputs)
    place = node.attrs.get("_class")
    colocated = isinstance(place, tuple) and any(item in loc for item in place)
    if not (edges or controls or colocated or node.name in names):
        return node
    changed = node.evolve(
        name=names.get(node.name, node.name),
        inputs=tuple(ref._replace(node=names.get(ref.node, ref.node)) for ref in node.inputs),
        control_inputs=tuple(names.get(source, source) for source in node.control_inputs),
    )
    if colocated and isinstance(place, tuple):
        moved = tuple(loc.get(p, p) if isinstance(p, bytes) else p for p in place)
        changed = changed.with_attr("_class", moved)
    return changed


def renamed_readers(
    nodes: Mapping[str, Node],
    names: Mapping[str, str],
    added: Mapping[str, Mapping[str, None]],
) -> dict[str, dict[str, None]]:
    """Reader hints after a renaming: the renamed nodes' readers are no longer under old names."""
    hints = {
        names.get(source, source): {names.get(reader, reader): None for reader in readers}
        for source, readers in added.items()
    }
    for node in nodes.values():
        reader = names.get(node.name, node.name)
        sources = (*(ref.node for ref in node.inputs), *node.control_inputs)
        for source in sources:
            if source in names or node.name in names:
                hints.setdefault(names.get(source, source), {})[reader] = None
    return hints
