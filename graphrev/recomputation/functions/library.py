"""The function library while functions are rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from graphrev.analysis.functions_calls import MAIN, called_by, find_calls
from graphrev.editor import GraphEditor
from graphrev.ir import Function, Graph, Node


@dataclass
class Library:
    """A library that functions are added to and replaced in.

    Attributes:
        graph: the graph it belongs to, as it was.
        now: the functions as they are now.
    """

    graph: Graph
    now: dict[str, Function] = field(default_factory=dict[str, Function])

    def __post_init__(self) -> None:
        """Starts with the functions of the graph."""
        self.now = dict(self.graph.functions)
        self._taken = Counter[str]()

    def around(self, graph: Graph) -> Graph:
        """``graph`` with the library as it is now."""
        return replace(graph, functions=MappingProxyType(self.now))

    def free(self, wanted: str) -> str:
        """A name for a new function."""
        name = f"{wanted}_graphrev"
        while name in self.now:
            self._taken[wanted] += 1
            name = f"{wanted}_graphrev_{self._taken[wanted]}"
        return name

    def write(self, editor: GraphEditor) -> None:
        """Logs what has changed, without functions that only what was replaced had called."""
        nodes = {name: editor[name] for name in self.graph.nodes if name in editor}
        unused = self._unused(nodes)
        for name, function in self.now.items():
            if name not in unused:
                editor.set_function(name, function)
        for name in unused:
            if name in self.graph.functions:
                editor.set_function(name, None)

    def _unused(self, nodes: Mapping[str, Node]) -> frozenset[str]:
        """Functions nobody calls any more; what nobody called before may be called from outside."""
        before = find_calls(self.graph).sites
        now = self._reached(nodes, [name for name in self.graph.functions if name not in before])
        kept = frozenset(
            name for name in self.graph.functions if name.encode() in self.graph.library_extra
        )
        now |= self._reached({}, kept)
        return frozenset(name for name in self.now if name not in now)

    def _reached(self, nodes: Mapping[str, Node], roots: Iterable[str]) -> frozenset[str]:
        graph = self.around(self.graph)
        seen, pending = set[str](), [MAIN, *roots]
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            body = nodes if name == MAIN else self.now[name].nodes if name in self.now else {}
            pending.extend(f for node in body.values() for f in called_by(node, graph))
        return frozenset(seen)
