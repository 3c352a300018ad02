"""Finds residual pairs by their marks (see :mod:`graphrev.ir.marks`).

A mark with roles names x1, x2, y1 and y2; only how the sums read them is looked up. A mark
without roles, left by ``with residual_pair():`` on every op built inside, says where to search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from graphrev.ir import TensorRef
from graphrev.ir.marks import pair_marks
from graphrev.passes.reversible.halves import Half, Pair
from graphrev.passes.reversible.search import Found, search
from graphrev.passes.reversible.sums import is_sum, readings
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.pipeline import Code, Rejection

ROLES = ("x1", "x2", "y1", "y2")


def find_marked(around: Surroundings) -> Found:
    """The pairs that marks name, and a rejection for each mark that names none."""
    roles, members = _collect(around)
    pairs: list[Pair] = []
    misses: list[Rejection] = []
    for mark in dict.fromkeys((*roles, *members)):
        if mark in roles:
            outcome = _pair_of_roles(around, mark, roles[mark])
            found = Found((outcome,), ()) if isinstance(outcome, Pair) else Found((), (outcome,))
        else:
            found = _pairs_of_scope(around, mark, members[mark])
        pairs.extend(found.pairs)
        misses.extend(found.near_misses)
    return Found(tuple(pairs), tuple(misses))


def _collect(
    around: Surroundings,
) -> tuple[dict[str, dict[str, list[TensorRef]]], dict[str, list[str]]]:
    roles: dict[str, dict[str, list[TensorRef]]] = {}
    members: dict[str, list[str]] = defaultdict(list)
    for name, node in around.graph.nodes.items():
        for mark in pair_marks(node):
            if mark.role is None:
                members[mark.id].append(name)
            else:
                role = roles.setdefault(mark.id, defaultdict(list))[mark.role]
                role.append(TensorRef(name, mark.index))
    return roles, members


def _pair_of_roles(
    around: Surroundings, mark: str, roles: Mapping[str, list[TensorRef]]
) -> Pair | Rejection:
    named = tuple(ref.node for refs in roles.values() for ref in refs)
    if any(len(roles.get(role, ())) != 1 for role in ROLES):
        counts = ", ".join(f"{len(roles.get(role, ()))} x {role}" for role in ROLES)
        return Rejection(Code.INCOMPLETE_MARK, f"Mark '{mark}' names {counts}.", named)
    x1, x2, y1, y2 = (around.origin(roles[role][0]) for role in ROLES)
    first = _half(around, y1, x1, x2)
    second = _half(around, y2, x2, y1)
    if first is None or second is None:
        wrong = y1 if first is None else y2
        reason = f"Mark '{mark}': '{wrong}' is not a sum or difference of its own x and f."
        return Rejection(Code.NOT_A_PAIR, reason, (wrong.node, *named))
    return Pair(first, second, mark)


def _half(around: Surroundings, y: TensorRef, p: TensorRef, q: TensorRef) -> Half | None:
    node = around.graph[y.node]
    if not is_sum(node):
        return None
    fitting = [r for r in readings(node) if around.origin(r.p) == p]
    if len(fitting) != 1:
        return None
    return Half(y, p, q, fitting[0].h, fitting[0].recovery)


def _pairs_of_scope(around: Surroundings, mark: str, members: list[str]) -> Found:
    sums = [name for name in members if is_sum(around.graph[name])]
    inside = frozenset(members)
    found = search(around, sums, mark)
    pairs = tuple(p for p in found.pairs if p.first.y.node in inside)
    if pairs or any(name in around.gradient_side for name in sums):
        return Found(pairs, ())
    reason = f"No pair y1 = x1 + f(x2), y2 = x2 + g(y1) is built under residual_pair '{mark}'."
    misses = found.near_misses or (Rejection(Code.NOT_A_PAIR, reason, tuple(members[:4])),)
    return Found((), misses)
