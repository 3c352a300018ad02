"""The clean-scopes pass: names without the scopes that ``tf.custom_gradient`` left."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from graphrev.analysis import ops
from graphrev.editor import GraphEditor
from graphrev.ir import Graph
from graphrev.ir.marks import is_opted_out
from graphrev.passes.clean_scopes.plan import CleanPlan
from graphrev.passes.clean_scopes.scopes import LeftScopes, Path
from graphrev.pipeline import Code, Pass, Rejection


@dataclass(frozen=True)
class CleanScopes(Pass[CleanPlan]):
    """Takes the scopes ``.../IdentityN_grad/`` out of names; the graph computes what it did.

    ``gradients/net/IdentityN_1_grad/dense/MatMul`` becomes ``gradients/net/dense/MatMul``, with a
    number where the name is taken. Colocations follow, and in a MetaGraphDef the collections and
    control flow contexts. Names that signatures feed or fetch are kept, and so are variables, whose
    names checkpoints hold. Ops of a live graph cannot be renamed: rewrite what is saved.

    Attributes:
        fed: tensors ("name:0") that are fed by name; they keep their names.
        fetched: tensors and ops that are fetched by name; they keep their names.
    """

    name: ClassVar[str] = "clean-scopes"

    fed: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()

    def analyze(self, graph: Graph) -> CleanPlan:
        """Finds the scopes, and a free name for every node in one."""
        left = LeftScopes(graph)
        moving: dict[str, tuple[Path, tuple[int, ...]]] = {}
        kept: list[Rejection] = []
        for name in graph.nodes:
            path = tuple(name.split("/"))
            places = left.places(path)
            if not places:
                continue
            objection = self._objection(graph, name)
            if objection is None:
                moving[name] = (path, places)
            else:
                kept.append(objection)
        naming = _Naming(name for name in graph.nodes if name not in moving)
        names: dict[str, str] = {}
        scopes: dict[str, int] = {}
        for name, (path, places) in moving.items():
            names[name] = naming.name(path, places)
            scope = "/".join(path[: places[-1] + 1])
            scopes[scope] = scopes.get(scope, 0) + 1
        return CleanPlan(tuple(kept), names, scopes)

    def apply(self, plan: CleanPlan, editor: GraphEditor) -> None:
        """Renames the planned nodes."""
        with editor.because("scopes", "the scope was made for the gradient of one identity"):
            editor.rename_all(plan.names)

    def _objection(self, graph: Graph, name: str) -> Rejection | None:
        node = graph[name]
        if name in _nodes(self.fed):
            return Rejection(Code.FED, f"'{name}' is fed by name, so it keeps it.", (name,))
        if name in _nodes(self.fetched):
            return Rejection(Code.FETCHED, f"'{name}' is fetched by name, so it keeps it.", (name,))
        if is_opted_out(node):
            reason = f"'{name}' was built under no_rewrite(), so it keeps its name."
            return Rejection(Code.OPTED_OUT, reason, (name,))
        if ops.is_variable(node.op):
            reason = f"'{name}' is a variable: checkpoints know it by its name, so it keeps it."
            return Rejection(Code.STATEFUL_OP, reason, (name,))
        return None


class _Naming:
    """Gives free names; what lay under one name in a scope stays together under one name."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = sorted(taken)
        self._moved: dict[Path, Path] = {}
        self._numbers: dict[Path, int] = {}

    def name(self, path: Path, places: tuple[int, ...]) -> str:
        """The free name for the node at ``path`` without the parts at ``places``."""
        last = places[-1]
        old = path[: last + 2]
        if old not in self._moved:
            kept = tuple(part for place, part in enumerate(old) if place not in places)
            self._moved[old] = self._free(kept)
        new = (*self._moved[old], *path[last + 2 :])
        return "/".join(new)

    def _free(self, wanted: Path) -> Path:
        free = wanted
        while self._is_taken("/".join(free)):
            number = self._numbers.get(wanted, 0) + 1
            self._numbers[wanted] = number
            free = (*wanted[:-1], f"{wanted[-1]}_{number}")
        insort(self._taken, "/".join(free))
        return free

    def _is_taken(self, name: str) -> bool:
        """Whether a node or a scope has the name; one sorted list knows both."""
        return self._begins(name) == name or self._begins(f"{name}/").startswith(f"{name}/")

    def _begins(self, name: str) -> str:
        """The first taken name that is not smaller."""
        at = bisect_left(self._taken, name)
        return self._taken[at] if at < len(self._taken) else ""


def _nodes(tensors: Iterable[str]) -> frozenset[str]:
    return frozenset(tensor.partition(":")[0] for tensor in tensors)
