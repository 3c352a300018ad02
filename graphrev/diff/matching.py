"""Which nodes of two graphs are the same: by name, then renames by structure.

A node without a namesake is told by two fingerprints: *up*, over its op, attributes and everything
it reads (Merkle fashion, down to nodes that kept their names), and *down*, over everything that
reads it. Equal in both: renamed. Equal upwards only: renamed if the last component of the name
agrees, or nothing else looks like it and it reads something. Cost is linear in the nodes without
a namesake and their edges.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from graphrev.ir import AttrValue, Node, TensorValue
from graphrev.ir.notation import value_to_text

Nodes = Mapping[str, Node]
_PLACEMENT = "_class"


def renames(before: Nodes, after: Nodes) -> dict[str, str]:
    """New names by old names, in the order of ``before``, for nodes told by their structure."""
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    if not gone or not come:
        return {}
    old, new = _Fingerprints(before, gone), _Fingerprints(after, come)
    found: dict[str, str] = {}
    rounds: tuple[tuple[Callable[[_Fingerprints, str], object], bool], ...] = (
        (lambda prints, name: (prints.up(name), prints.down(name)), True),
        (lambda prints, name: (prints.up(name), name.rpartition("/")[2]), False),
        (lambda prints, name: prints.up(name) if prints.reads(name) else None, False),
    )
    for key, in_order in rounds:
        taken = set(found.values())
        left = [name for name in gone if name not in found]
        right = [name for name in come if name not in taken]
        buckets = _buckets(right, lambda name, key=key: key(new, name))
        for kind, names in _buckets(left, lambda name, key=key: key(old, name)).items():
            others = buckets.get(kind, [])
            if kind is not None and len(others) == len(names) and (in_order or len(names) == 1):
                found.update(zip(names, others))
    return {name: found[name] for name in gone if name in found}


def _buckets(names: Iterable[str], key: Callable[[str], object]) -> dict[object, list[str]]:
    found: dict[object, list[str]] = {}
    for name in names:
        found.setdefault(key(name), []).append(name)
    return found


class _Fingerprints:
    """Fingerprints of the nodes ``names`` of one graph."""

    def __init__(self, nodes: Nodes, names: Sequence[str]) -> None:
        self._nodes = nodes
        self._own = frozenset(names)
        self._readers = self._find_readers()
        self._ups: dict[str, bytes] = {}
        self._downs: dict[str, bytes] = {}
        for name in names:
            _fold(name, self._ups, self._sources, self._up)
        for name in names:
            _fold(name, self._downs, self._followers, self._down)

    def up(self, name: str) -> bytes:
        """What the node is and reads."""
        return self._ups[name]

    def down(self, name: str) -> bytes:
        """What reads the node."""
        return self._downs[name]

    def reads(self, name: str) -> bool:
        """Whether it reads anything: a constant alone is told by too little."""
        return bool(self._nodes[name].inputs)

    def _find_readers(self) -> dict[str, list[tuple[str, str]]]:
        """For each own node: who reads it, and where (input number, output)."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, node in self._nodes.items():
            for place, ref in enumerate(node.inputs):
                if ref.node in self._own:
                    found.setdefault(ref.node, []).append((name, f"{place}:{ref.port}:{ref.index}"))
            for source in node.control_inputs:
                if source in self._own:
                    found.setdefault(source, []).append((name, "^"))
        return found

    def _sources(self, name: str) -> list[str]:
        node = self._nodes[name]
        every = (*(ref.node for ref in node.inputs), *node.control_inputs)
        return [source for source in every if source in self._own]

    def _followers(self, name: str) -> list[str]:
        return [reader for reader, _ in self._readers.get(name, ()) if reader in self._own]

    def _up(self, name: str) -> bytes:
        node = self._nodes[name]
        parts = [b"op", _utf8(node.op)]
        for key, value in sorted(node.attrs.items()):
            if key != _PLACEMENT:
                parts += [_utf8(key), _value(value)]
        for ref in node.inputs:
            parts += [self._edge(ref.node, self._ups), _utf8(f":{ref.port}:{ref.index}")]
        parts += sorted(b"^" + self._edge(source, self._ups) for source in node.control_inputs)
        return _digest(parts)

    def _down(self, name: str) -> bytes:
        return _digest(
            sorted(
                _digest([self._edge(reader, self._downs), _utf8(place)])
                for reader, place in self._readers.get(name, ())
            )
        )

    def _edge(self, name: str, known: Mapping[str, bytes]) -> bytes:
        """A node seen from its neighbour: by name if it kept it, else by its fingerprint."""
        if name in self._own:
            return b"#" + known.get(name, b"loop")
        return b"=" + _utf8(name)


def _fold(
    start: str,
    known: dict[str, bytes],
    needs: Callable[[str], list[str]],
    finish: Callable[[str], bytes],
) -> None:
    """Finishes ``start`` after everything it needs, iteratively; a cycle is cut where it closes."""
    if start in known:
        return
    opened, path = {start}, [(start, iter(needs(start)))]
    while path:
        name, rest = path[-1]
        for other in rest:
            if other not in known and other not in opened:
                opened.add(other)
                path.append((other, iter(needs(other))))
                break
        else:
            known[name] = finish(name)
            path.pop()


def _value(value: AttrValue) -> bytes:
    if isinstance(value, TensorValue):
        return value.raw
    return _utf8(value_to_text(value))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(parts: Iterable[bytes]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()
