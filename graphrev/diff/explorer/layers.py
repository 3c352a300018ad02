"""Which layer of Model Explorer a node stands in: its name scope, split where it is too full.

Model Explorer lays out what lies directly in a layer at once: some hundred nodes take it a minute,
and its worker dies of five thousand (measured with 0.1.34). So a scope with more than ``FULLEST``
children gets synthetic layers, ``[1–150]`` and so on, by place; a graph without scopes consists of
them. Both sides of a pair use the same layers, or the panes could not move together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from graphrev.errors import printable

FULLEST = 150
"""Children of a layer at most."""
_WIDEST = 24
_DEEPEST = 32
"""Scopes nested deeper are left out: a hostile name has thousands."""
_LABEL = 60


_RESERVED = frozenset(
    "__proto__ constructor hasOwnProperty isPrototypeOf propertyIsEnumerable toLocaleString "
    "toString valueOf __defineGetter__ __defineSetter__ __lookupGetter__ __lookupSetter__".split()
)
"""What every JavaScript object has: Model Explorer takes them for nodes it has seen."""


def node_id(name: str) -> str:
    """The id of a node: its name, unless Model Explorer cannot bear it."""
    return f"{name} (node)" if name in _RESERVED else name


@dataclass
class _Scope:
    """Children in order of appearance: nodes by name, scopes by their component."""

    nodes: dict[str, None] = field(default_factory=dict[str, None])
    scopes: dict[str, _Scope] = field(default_factory=dict[str, "_Scope"])


def layers(names: Iterable[str]) -> dict[str, str]:
    """The layer (``a/b``, ``""`` for the top) of every node, by node name.

    Args:
        names: of all nodes, in an order in which neighbours belong together.
    """
    root = _Scope()
    for name in names:
        scope = root
        for part in name.split("/", _DEEPEST)[:-1]:
            scope = scope.scopes.setdefault(part, _Scope())
        scope.nodes[name] = None
    found: dict[str, str] = {}
    pending: list[tuple[_Scope, str]] = [(root, "")]
    while pending:
        scope, path = pending.pop()
        total = len(scope.scopes) + len(scope.nodes)
        for place, (part, child) in enumerate(scope.scopes.items()):
            pending.append((child, _joined(path, *_buckets(place, total), _label(part))))
        for place, name in enumerate(scope.nodes, len(scope.scopes)):
            found[name] = _joined(path, *_buckets(place, total))
    return found


def merged(before: Iterable[str], after: Mapping[str, object]) -> Iterator[str]:
    """The names of both sides: the second's in its order, what went where it stood in the first."""
    gone: list[str] = []
    left: dict[str, list[str]] = {}
    for name in before:
        if name in after:
            if gone:
                left[name] = gone
                gone = []
        else:
            gone.append(name)
    for name in after:
        yield from left.get(name, ())
        yield name
    yield from gone


def open_layers(changed: Iterable[str], every: Iterable[str]) -> list[str]:
    """The layer to open so that the layers among which the changes part are seen, closed.

    A layer with more than ``_WIDEST`` children stays closed: opened, it shrinks all to dots.

    Args:
        changed: the layer of every node that differs.
        every: the layer of every node.
    """
    common: list[str] | None = None
    for layer in dict.fromkeys(changed):
        parts = layer.split("/") if layer else []
        if common is None:
            common = parts
        while common != parts[: len(common)]:
            common.pop()
    children = _children(every)
    opened: list[str] = []
    for part in common or ():
        if children["/".join((*opened, part))] > _WIDEST:
            break
        opened.append(part)
    return ["/".join(opened)] if opened else []


def _children(every: Iterable[str]) -> Counter[str]:
    """How many layers and nodes lie directly in each layer."""
    found = Counter(every)
    seen: set[str] = set()
    for layer in list(found):
        while layer and layer not in seen:
            seen.add(layer)
            layer = layer.rpartition("/")[0]
            found[layer] += 1
    return found


def _buckets(place: int, total: int) -> Iterator[str]:
    """Synthetic layers, outermost first; none where there is room."""
    sizes: list[int] = []
    size = FULLEST
    while size < total:
        sizes.append(size)
        size *= FULLEST
    for size in reversed(sizes):
        start = place // size * size
        yield f"[{start + 1}–{min(start + size, total)}]"


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _label(part: str) -> str:
    """A component of a name as it may be shown; what differs stays different."""
    if part in _RESERVED:
        return f"{part} (scope)"
    if part.isascii() and part.isprintable() and part and len(part) <= _LABEL:
        return part
    kept = part if len(part) <= _LABEL else f"{part[: _LABEL // 2]}…{part[-_LABEL // 3 :]}"
    return printable(kept, 10 * _LABEL) or "(empty)"
