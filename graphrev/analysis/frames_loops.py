"""The frames of v1 while loops: which one each node runs in, and how each is built.

A frame opens at an ``Enter`` and closes at an ``Exit``; every other node runs in the frame of what
it reads and waits for, which must be one and the same (core/graph/control_flow.cc,
``BuildControlFlowInfo``, does the same walk and refuses the same graphs). Branches of ``cond`` are
no frames: :func:`graphrev.analysis.frames.control_contexts` knows them. Linear in the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphrev.analysis.order import topological
from graphrev.ir import Graph, Node, TensorRef

ROOT = 0
"""The frame of everything outside all loops."""

ENTERS = frozenset({"Enter", "RefEnter"})
EXITS = frozenset({"Exit", "RefExit"})
MERGES = frozenset({"Merge", "RefMerge"})
SWITCHES = frozenset({"Switch", "RefSwitch"})
NEXTS = frozenset({"NextIteration", "RefNextIteration"})


@dataclass(frozen=True, slots=True)
class LoopVariable:
    """One variable of a loop: ``Enter -> Merge -> Switch``, back over ``NextIteration``.

    Attributes:
        value: the variable inside the body, output 1 of the Switch.
        exits: the Exits that hand the final value out (none where nobody asked for it).
    """

    enter: str
    merge: str
    switch: str
    next: str
    exits: tuple[str, ...]

    @property
    def value(self) -> TensorRef:
        """The variable inside the body."""
        return TensorRef(self.switch, 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One while loop.

    Attributes:
        number: names the frame; :data:`ROOT` is none.
        parent: the frame it is entered from.
        name: its ``frame_name``; only the way from the root makes it unique.
        cond: its LoopCond.
        variables: in the order of their Merges.
        invariants: Enters of what stays the same in all iterations.
        size: how many nodes run in it, inner frames not counted.
    """

    number: int
    parent: int
    name: bytes
    cond: str
    variables: tuple[LoopVariable, ...]
    invariants: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes a frame no while loop, and the nodes it is about, most telling first."""

    reason: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Frames:
    """All frames of a graph.

    Attributes:
        of: the frame each node runs in (an Enter in the frame it opens, an Exit in the one it
            leads to); nodes outside all loops are left out.
        loops: well-formed frames by number.
        faults: what is wrong with the others.
        broken: numbers of the frames that ``faults`` are about, and of all frames inside them.
    """

    graph: Graph
    of: Mapping[str, int]
    loops: Mapping[int, Frame]
    faults: tuple[Fault, ...]
    broken: frozenset[int]

    def frame(self, name: str) -> int:
        """The number of the frame that a node runs in."""
        return self.of.get(name, ROOT)

    def outermost(self, number: int) -> int:
        """The frame directly under the root that ``number`` lies in."""
        while (parent := self.loops[number].parent) != ROOT:
            number = parent
        return number


@dataclass(eq=False)
class _Walk:
    graph: Graph
    of: dict[str, int] = field(default_factory=dict[str, int])
    ids: dict[tuple[int, bytes], int] = field(default_factory=dict[tuple[int, bytes], int])
    parents: list[int] = field(default_factory=lambda: [ROOT])
    names: list[bytes] = field(default_factory=lambda: [b""])
    faults: list[Fault] = field(default_factory=list[Fault])
    broken: set[int] = field(default_factory=set[int])

    def blame(self, reason: str, nodes: tuple[str, ...], *numbers: int) -> None:
        self.faults.append(Fault(reason, nodes))
        self.broken.update(number for number in numbers if number != ROOT)


def find_frames(graph: Graph) -> Frames:
    """The frames of ``graph``, which must be verified."""
    walk = _Walk(graph)
    if any(node.op in ENTERS or node.op in EXITS for node in graph.nodes.values()):
        for name in topological(graph):
            _place(walk, graph[name])
        _check_back_edges(walk)
    loops = _loops(walk)
    broken = set(walk.broken)
    for number in range(1, len(walk.parents)):  # a parent's number is lower than its children's
        if walk.parents[number] in broken:
            broken.add(number)
    sound = {number: loop for number, loop in loops.items() if number not in broken}
    return Frames(graph, walk.of, sound, tuple(walk.faults), frozenset(broken))


def _place(walk: _Walk, node: Node) -> None:
    frame = _common_frame(walk, node)
    if node.op in ENTERS:
        name = node.attrs.get("frame_name")
        frame = _child(walk, frame, name if isinstance(name, bytes) else b"")
        if not name:
            walk.blame(f"'{node.name}' enters a frame without a name.", (node.name,), frame)
    elif node.op in EXITS:
        if frame == ROOT:
            walk.blame(f"'{node.name}' leaves a loop that was never entered.", (node.name,))
        frame = walk.parents[frame]
    if frame != ROOT:
        walk.of[node.name] = frame


def _common_frame(walk: _Walk, node: Node) -> int:
    """The frame of a node's inputs; of a loop's Merge the frame of its first input."""
    sources = [ref.node for ref in node.inputs]
    if node.op in MERGES:
        sources = [name for name in sources if walk.graph[name].op not in NEXTS] or sources
    sources += node.control_inputs
    if not sources:
        return ROOT
    first = walk.of.get(sources[0], ROOT)
    for source in sources[1:]:
        other = walk.of.get(source, ROOT)
        if other != first:
            reason = f"'{node.name}' reads '{sources[0]}' and '{source}', which run in two frames."
            walk.blame(reason, (node.name, sources[0], source), first, other)
    return first


def _child(walk: _Walk, parent: int, name: bytes) -> int:
    key = (parent, name)
    if key not in walk.ids:
        walk.ids[key] = len(walk.parents)
        walk.parents.append(parent)
        walk.names.append(name)
    return walk.ids[key]


def _check_back_edges(walk: _Walk) -> None:
    """A NextIteration must lead to a Merge of its own frame."""
    for name, node in walk.graph.nodes.items():
        if node.op not in NEXTS:
            continue
        for reader in walk.graph.readers.get(name, ()):
            own, other = walk.of.get(name, ROOT), walk.of.get(reader, ROOT)
            if own != other or walk.graph[reader].op not in MERGES:
                reason = f"'{name}' starts an iteration of another loop at '{reader}'."
                walk.blame(reason, (name, reader), own, other)


def _loops(walk: _Walk) -> dict[int, Frame]:
    sizes: dict[int, int] = defaultdict(int)
    conds: dict[int, list[str]] = defaultdict(list)
    enters: dict[int, list[str]] = defaultdict(list)
    for name, frame in walk.of.items():
        op = walk.graph[name].op
        sizes[frame] += 1
        if op == "LoopCond":
            conds[frame].append(name)
        elif op in ENTERS:
            enters[frame].append(name)
    loops: dict[int, Frame] = {}
    for number in range(1, len(walk.parents)):
        found = conds[number]
        if len(found) != 1:
            text = "no LoopCond" if not found else f"{len(found)} LoopConds"
            nodes = tuple(found[:4] or enters[number][:4])
            reason = f"The frame that '{nodes[0]}' lies in has {text}; a loop has one."
            walk.blame(reason, nodes, number)
            continue
        variables = tuple(_variables(walk, number, found[0], enters[number]))
        heads = {variable.enter for variable in variables}
        loops[number] = Frame(
            number,
            walk.parents[number],
            walk.names[number],
            found[0],
            variables,
            tuple(name for name in enters[number] if name not in heads),
            sizes[number],
        )
    return loops


def _variables(walk: _Walk, number: int, cond: str, enters: list[str]) -> Iterator[LoopVariable]:
    graph = walk.graph
    for enter in enters:
        for merge in graph.readers.get(enter, ()):
            node = graph[merge]
            if node.op not in MERGES or not any(graph[r.node].op in NEXTS for r in node.inputs):
                continue
            variable = _variable(graph, enter, merge, cond)
            if variable is None:
                reason = f"The loop variable at '{merge}' has no Switch by '{cond}'."
                walk.blame(reason, (merge, cond), number)
            else:
                yield variable


def _variable(graph: Graph, enter: str, merge: str, cond: str) -> LoopVariable | None:
    back = [ref.node for ref in graph[merge].inputs if ref.node != enter]
    switches = [
        name
        for name in graph.readers_of(TensorRef(merge))
        if graph[name].op in SWITCHES and graph[name].inputs[1:] == (TensorRef(cond),)
    ]
    if len(back) != 1 or len(switches) != 1:
        return None
    exits = tuple(r for r in graph.readers_of(TensorRef(switches[0])) if graph[r].op in EXITS)
    return LoopVariable(enter, merge, switches[0], back[0], exits)
