"""The regions that ``recompute_scope`` marked, and what enters each.

A node belongs to the innermost scope it was built in. What an outer scope holds before and after
an inner one must not be one region: computing it again as a whole would wait for gradients that it
delivers itself. So every node gets a *level*, the number of times a way to it leaves the scope and
comes back, and each level of a scope is a region of its own. A region is therefore convex whatever
the marks say.

What is computed again must depend on an *activation* that enters the region: the gates hang there.
Variables, constants, random draws, shapes, and what follows from those alone, are captured: they
keep the value of the forward pass (an optimizer may have moved a variable by then, and a random op
would draw other numbers). Of a ``cond`` that lies in the region as a whole ``Switch`` and ``Merge``
are computed again as well, with the predicate of the forward pass; what a loop inside hands out is
captured, and so is what enters the branch that the region lies in. Where nothing but constants and
the like enters a region, as in a program whose input is a constant, everything that is no variable
counts as an activation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from graphrev.analysis import ops
from graphrev.analysis.frames import Context
from graphrev.ir import Node, TensorRef
from graphrev.ir.deferred import BLOCK_ATTR
from graphrev.ir.marks import recompute_regions
from graphrev.recomputation.branches import recomputed_inputs
from graphrev.recomputation.facts import METADATA_OPS, Facts

UNFIT_FOR_A_SCOPE = re.compile(r"[^A-Za-z0-9_.\-]")


@dataclass(frozen=True, slots=True)
class Region:
    """One region.

    Attributes:
        name: the scope's name, with the level where that is not 0; fit for a name scope.
        members: everything built in the scope at this level, in topological order.
        nodes: the members that can be computed again; the others are captured.
        entering: the activations from outside that ``nodes`` read.
        around_loop: whether some members lie in a loop inside the region.
    """

    name: str
    members: tuple[str, ...]
    nodes: tuple[str, ...]
    entering: frozenset[TensorRef]
    around_loop: bool = False


def marked_regions(
    facts: Facts, contexts: Mapping[str, Context], replayed: frozenset[str]
) -> tuple[Region, ...]:
    """The graph's regions, in the order their scopes first occur.

    Args:
        contexts: the loop or branch of each node that lies in one.
        replayed: random ops that are drawn again instead of captured.
    """
    scopes: dict[str, list[str]] = {}
    for node_id in facts.index.order:
        name = facts.index.names[node_id]
        mark = scope_of(facts, name)
        if mark is not None:
            scopes.setdefault(mark, []).append(name)
    active = _activations(facts) if scopes else frozenset[str]()
    fixed = _fixed(facts) if scopes else frozenset[str]()
    found: list[Region] = []
    taken: set[str] = set()
    for mark, names in scopes.items():
        for level, members in sorted(_by_level(facts, names).items()):
            name = _unique(f"{mark}.{level}" if level else mark, taken)
            built = _Members(facts, contexts, tuple(members), fixed)
            found.append(built.region(name, active, replayed))
    return tuple(found)


def scope_of(facts: Facts, name: str) -> str | None:
    """The innermost scope that a node of the forward pass was built in; no copy has one."""
    node = facts.graph[name]
    marks = recompute_regions(node)
    if not marks or BLOCK_ATTR in node.attrs or name in facts.gradient_side:
        return None
    return marks[-1]


def _unique(name: str, taken: set[str]) -> str:
    base = name = UNFIT_FOR_A_SCOPE.sub("_", name) or "region"
    count = 0
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _by_level(facts: Facts, names: list[str]) -> Mapping[int, list[str]]:
    """The nodes of one scope by level; looks only at what lies between the first and the last."""
    index, inside = facts.index, {facts.index.ids[name] for name in names}
    first, last = facts.position(names[0]), facts.position(names[-1])
    levels: dict[int, int] = {}
    for node_id in index.order[first : last + 1]:
        member = node_id in inside
        level = 0 if member else -1
        for source in index.data_inputs[node_id]:
            reached = levels.get(source, -1)
            returns = member and reached >= 0 and source not in inside
            level = max(level, reached + returns)
        if level >= 0:
            levels[node_id] = level
    found: dict[int, list[str]] = {}
    for name in names:
        found.setdefault(levels[index.ids[name]], []).append(name)
    return found


@dataclass(frozen=True, eq=False)
class _Members:
    """What was built in one scope at one level.

    Attributes:
        fixed: nodes that TensorFlow may compute before the step. Nothing is gained by computing
            again from them, and when a gate of theirs is folded into a constant its control edges
            go on behind a ``ControlTrigger``, to nodes that may be dead
            (core/common_runtime/constant_folding.cc).
    """

    facts: Facts
    contexts: Mapping[str, Context]
    names: tuple[str, ...]
    fixed: frozenset[str]

    def region(self, name: str, active: frozenset[str], replayed: frozenset[str]) -> Region:
        """The region they are."""
        facts = self.facts
        looped = self._in_inner_loops()
        computed = [m for m in self.names if m not in looped and self._may_copy(m)]
        outside = _entering(facts, computed)
        entering = frozenset(ref for ref in outside if _value(facts, ref) and ref.node in active)
        if not entering:
            entering = frozenset(ref for ref in outside if not _is_parameter(facts, ref))
        entering = frozenset(ref for ref in entering if ref.node not in self.fixed) or entering
        inside: dict[str, None] = {}
        for member in computed:
            node = facts.graph[member]
            flowing = recomputed_inputs(node)
            reads = any(ref in entering or ref.node in inside for ref in flowing)
            if member in replayed or (reads and not _is_captured(node)):
                inside[member] = None
        read = {ref for member in inside for ref in recomputed_inputs(facts.graph[member])}
        return Region(name, self.names, tuple(inside), entering & read, bool(looped))

    def _in_inner_loops(self) -> frozenset[str]:
        """The members that lie in loops that are members as a whole."""
        conds = {name for name in self.names if self.facts.graph[name].op == "LoopCond"}
        if not conds:
            return frozenset()
        frames = self.facts.flow.frames
        inner = {frames.frame(name) for name in conds}
        for number in sorted(frames.loops):  # a parent's number is lower than its children's
            if frames.loops[number].parent in inner:
                inner.add(number)
        return frozenset(name for name in self.names if frames.frame(name) in inner)

    @cached_property
    def _inner_branches(self) -> frozenset[Context]:
        """The branches that end in the region, at a Merge that is a member."""
        merges = [name for name in self.names if self.facts.graph[name].op == "Merge"]
        return frozenset(place for name in merges for place in self._joined(name))

    def _joined(self, merge: str) -> frozenset[Context]:
        """The branches that a Merge joins; it lies outside of them. None for that of a loop."""
        own = self.contexts.get(merge, ())
        inputs = self.facts.graph[merge].inputs
        return frozenset(self.contexts.get(ref.node, ()) for ref in inputs) - {own}

    def _may_copy(self, name: str) -> bool:
        """Whether a copy may stand for a node: no control flow but that of inner branches."""
        op = self.facts.graph[name].op
        if op == "Switch":  # it lies in the branch that it leads into
            return self.contexts.get(name, ()) in self._inner_branches
        if op == "Merge":
            return bool(self._joined(name))
        return not ops.is_control_flow_v1(op)


def _entering(facts: Facts, members: list[str]) -> list[TensorRef]:
    own = set(members)
    refs = (ref for member in members for ref in recomputed_inputs(facts.graph[member]))
    return [ref for ref in dict.fromkeys(refs) if ref.node not in own]


def _is_captured(node: Node) -> bool:
    return node.op in METADATA_OPS or ops.is_random(node.op) or ops.is_variable_read(node.op)


def _value(facts: Facts, ref: TensorRef) -> bool:
    return facts.graph[ref.node].op not in METADATA_OPS


def _is_parameter(facts: Facts, ref: TensorRef) -> bool:
    """Whether a tensor is a variable, its value, or only a shape."""
    node = facts.graph[ref.node]
    while node.op == "Identity":
        node = facts.graph[node.inputs[0].node]
    fixed = ops.is_variable(node.op) or ops.is_variable_read(node.op)
    return fixed or node.op in METADATA_OPS


def _activations(facts: Facts) -> frozenset[str]:
    """Nodes whose value depends on a feed, on input data or on chance, not only on variables."""
    index, graph = facts.index, facts.graph
    active = bytearray(len(index.names))
    for node_id in index.order:
        node = graph[index.names[node_id]]
        if node.op in METADATA_OPS:
            continue
        reads = any(active[source] for source in index.data_inputs[node_id])
        active[node_id] = reads or starts_anew(node)
    return frozenset(name for name, is_active in zip(index.names, active) if is_active)


def starts_anew(node: Node) -> bool:
    """Whether the node's value is new in every step whatever it reads: a feed, data, chance."""
    if ops.is_placeholder(node.op) or ops.is_random(node.op):
        return True
    if ops.is_variable(node.op) or ops.is_variable_read(node.op):
        return False
    return ops.is_stateful(node.op)


def _fixed(facts: Facts) -> frozenset[str]:
    """Nodes that are computed from constants alone, where no placeholder's default is replaced."""
    index, graph = facts.index, facts.graph
    fixed = bytearray(len(index.names))
    for node_id in index.order:
        node, sources = graph[index.names[node_id]], index.data_inputs[node_id]
        if ops.is_constant(node.op):
            fixed[node_id] = True
        elif node.inputs and not (ops.is_stateful(node.op) or ops.is_control_flow_v1(node.op)):
            fixed[node_id] = all(fixed[source] for source in sources)
    return frozenset(name for name, is_fixed in zip(index.names, fixed) if is_fixed)
