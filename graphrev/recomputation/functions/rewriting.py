"""Runs a pass on what functions compute: bodies by themselves, and bodies with their gradients.

A level is a graph: the graph itself, a function's body, or two bodies joined. On each level the
functional nodes come first, from the inside out, then the pass; so what an inner loop no longer
hands to its gradient is gone before the loop around it is looked at. A function that is called from
several places keeps its name where all callers may have the rewritten one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter

from graphrev.analysis.functions_bodies import (
    Body,
    BodyError,
    Known,
    body_of,
    function_of_body,
)
from graphrev.analysis.functions_calls import MAIN, Calls, called_by, find_calls
from graphrev.analysis.functions_pairs import (
    Link,
    Twins,
    Wires,
    arguments_of,
    bodies_of,
    family_of,
    find_twins,
)
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.editor import GraphEditor, make_edits
from graphrev.edits import EditLog
from graphrev.errors import InvalidGraphError
from graphrev.io.functions import argument_shape
from graphrev.ir import Function, Graph, Node
from graphrev.ir.marks import is_opted_out
from graphrev.ir.verify import verify
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.functions.arguments import body_for, common_shapes
from graphrev.recomputation.functions.combining import Combined, combine
from graphrev.recomputation.functions.library import Library
from graphrev.recomputation.functions.nests import Returned, carried_through, returned_by
from graphrev.recomputation.functions.plan import Blocks, Done, FunctionPlan, FunctionsDone, Inner
from graphrev.recomputation.functions.refusals import (
    inside_of,
    kept,
    no_counters,
    no_gain,
    unreadable,
)
from graphrev.recomputation.functions.signatures import set_functions
from graphrev.recomputation.functions.splitting import Demand, demand_of, take_apart
from graphrev.recomputation.functions.writing import Change, condition_of, write_change


def rewrite_functions(
    graph: Graph,
    inner: Inner,
    wanted: Callable[[Function], bool],
    prepare: Callable[[Combined], Graph] = attrgetter("graph"),
    anchors: Callable[[Blocks], int | None] | None = None,
    *,
    copies: bool = False,
) -> FunctionsDone:
    """Runs ``inner`` on every level of ``graph`` but the graph itself.

    Args:
        graph: a verified graph; it is not changed.
        inner: the pass.
        wanted: whether a function holds anything the pass may want to rewrite; only these, and
            those that call them, are looked at.
        prepare: marks what is to be rewritten in two bodies that were joined.
        anchors: by the blocks in a loop that carries its variables how often it is to save them;
            a pair is not carried through inner loops then, for nobody knows how far it would drift.
        copies: functions stay as they are, and loops and branches run rewritten copies of them,
            with the same inputs and outputs. Nothing that is differentiated is touched, nor calls.
    """
    if not graph.functions:
        return FunctionsDone(graph)
    return _Rewriter(graph, inner, wanted, prepare, anchors, copies).run()


def kept_functions(graph: Graph, wanted: Callable[[Function], bool]) -> tuple[Rejection, ...]:
    """A rejection for each node that runs functions that a pass might have rewritten."""
    held = _with_callers(graph, find_calls(graph), wanted)
    found: list[Rejection] = []
    for node in graph.nodes.values():
        called = [function for function in called_by(node, graph) if function in held]
        if called:
            found.append(kept(node, called[0]))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Lazy:
    """A level, with its shapes once somebody asks."""

    level: Graph

    @cached_property
    def shapes(self) -> Shapes:
        return infer_shapes(self.level)


class _Rewriter:
    def __init__(
        self,
        graph: Graph,
        inner: Inner,
        wanted: Callable[[Function], bool],
        prepare: Callable[[Combined], Graph],
        anchors: Callable[[Blocks], int | None] | None,
        copies: bool,
    ) -> None:
        self._graph = graph
        self._copies = copies
        self._inner = inner
        self._prepare = prepare
        self._anchors = anchors
        self._calls: Calls = find_calls(graph)
        self._library = Library(graph)
        self._wanted = set(_with_callers(graph, self._calls, wanted))
        self._renamed: dict[str, str] = {}
        self._done = FunctionsDone(graph)
        self._seen: set[tuple[Code, str]] = set()

    def run(self) -> FunctionsDone:
        """All levels."""
        if not self._wanted:
            return self._done
        self._refuse_broken()
        log = self._level(self._library.around(self._graph))[1]
        for name in self._graph.functions:
            # Called from outside the graph, if at all: there a copy would not be found.
            if name not in self._calls.sites and not self._copies:
                self._function(name, quiet=True)
        editor = GraphEditor(self._graph)
        make_edits(editor, log)
        self._library.write(editor)
        self._done.graph, self._done.edits = editor.finish()
        return self._done

    def _refuse_broken(self) -> None:
        for fault in self._calls.faults:
            self._reject(Rejection(Code.FUNCTION_BROKEN, fault.reason, fault.nodes))

    def _reject(self, rejection: Rejection) -> None:
        key = (rejection.code, rejection.reason)
        if key not in self._seen:
            self._seen.add(key)
            self._done.rejections.append(rejection)

    def _level(self, level: Graph) -> tuple[Graph, EditLog, list[Returned]]:
        """The functional nodes of a level: with their gradients where they are, then alone."""
        log: EditLog = ()
        returned: list[Returned] = []
        together: set[str] = set()
        tried: set[str] = set()
        shapes: Shapes | None = None
        for twins in find_twins(level):
            names = (*bodies_of(level[twins.forward]), *bodies_of(level[twins.backward]))
            if self._wanted.isdisjoint(names) or _any_opted_out(level, twins):
                continue
            shapes = shapes or infer_shapes(level)
            if self._copies:
                if self._are_linked(shapes, level, twins):
                    self._reject(kept(level[twins.forward], names[0]))
                    together |= {twins.forward, twins.backward}
                continue
            editor = GraphEditor(self._library.around(level))
            tried |= {twins.forward, twins.backward}
            change = self._rewrite_pair(shapes, editor, twins)
            if change is not None:
                returned += () if self._anchors else returned_by(change)
                together |= {twins.forward, twins.backward}
                level, edits = editor.finish()
                log, shapes = (*log, *edits), None
        level = self._library.around(level)
        editor = GraphEditor(level)
        around = _Lazy(level)
        for name, node in level.nodes.items():
            if name not in together and not is_opted_out(node):
                self._rewrite_alone(editor, name, around, quiet=name in tried)
        level, edits = editor.finish()
        return level, (*log, *edits), returned

    def _rewrite_alone(self, editor: GraphEditor, name: str, around: _Lazy, *, quiet: bool) -> None:
        node = editor[name]
        called = [function for function in called_by(node, self._graph) if function in self._wanted]
        if called and self._copies and family_of(node) not in ("loop", "branch"):
            self._reject(kept(node, called[0]))
            return
        for function in called:
            self._function(function, around, quiet=quiet)
        if any(function in self._renamed for function in called):
            set_functions(editor, name, lambda function: self._renamed.get(function, function))

    def _function(self, name: str, around: _Lazy | None = None, *, quiet: bool = False) -> None:
        """Rewrites a function's body by itself, once.

        Args:
            around: the level that calls it, if it is called.
            quiet: nothing is said of what is left alone.
        """
        if name in self._renamed or name not in self._wanted or name in self._calls.broken:
            return
        self._renamed[name] = name
        function = self._library.now[name]
        where = tuple(dict.fromkeys(site.node for site in self._calls.sites.get(name, ())))[:4]
        try:
            body = self._body_alone(function, around)
            level, done = self._run(body.graph)
            for rejection in () if quiet else done.rejections:
                self._reject(inside_of(name, where, rejection))
            if level is body.graph and done.graph is level:
                return
            new = function_of_body(body, done.graph, self._new_name(name))
        except (BodyError, InvalidGraphError) as error:
            self._reject(unreadable(name, where, error))
            return
        self._renamed[name] = new.name
        self._library.now[new.name] = new
        if done.blocks:
            self._done.plans.append(FunctionPlan(name, "", done.blocks))

    def _body_alone(self, function: Function, around: _Lazy | None) -> Body:
        """A body with the shapes that all its callers give its arguments."""
        library = self._library.around(self._graph)
        sites = [site.node for site in self._calls.sites.get(function.name, ())]
        if around is None or any(name not in around.level for name in sites):
            return body_of(function, library, _stored_shapes(function))
        nodes = [around.level[name] for name in sites]
        if any(len(arguments_of(node)) != len(function.inputs) for node in nodes):
            return body_of(function, library, _stored_shapes(function))
        if len(nodes) == 1:
            return body_for(function, library, around.shapes, nodes[0])
        return body_of(function, library, common_shapes(around.shapes, nodes))

    def _new_name(self, name: str) -> str:
        """The function's own name, unless a caller keeps the function as it was."""
        stays = self._copies or any(
            self._keeps(site.inside, site.node) for site in self._calls.sites.get(name, ())
        )
        return self._library.free(name) if stays else name

    def _keeps(self, inside: str, node: str) -> bool:
        nodes = self._graph.nodes if inside == MAIN else self._graph.functions[inside].nodes
        return is_opted_out(nodes[node])

    def _run(self, graph: Graph) -> tuple[Graph, Done]:
        """What is inside a level, then the level; its graph between the two, and the outcome."""
        verify(graph)
        level, edits, returned = self._level(graph)
        level = level if edits else graph
        done = self._inner(level)
        return level, replace(done, graph=carried_through(done.graph, returned))

    def _rewrite_pair(self, shapes: Shapes, editor: GraphEditor, twins: Twins) -> Change | None:
        where = (twins.forward, twins.backward)
        try:
            wires = self._wires(shapes, editor.graph, twins)
            if not wires:
                return None
            cut = frozenset[Link].intersection(*(w.owned for w in wires))
            outcomes = [self._branch(item, cut) for item in wires]
            nested = any(changed for _, _, changed in outcomes)
            blocks = tuple(block for _, done, _ in outcomes for block in done.blocks)
            for _, done, _ in outcomes:
                for rejection in done.rejections:
                    self._reject(inside_of(twins.forward, where, rejection))
            if not blocks and not nested:
                return None
            every = self._anchors(blocks) if self._anchors and twins.family == "loop" else None
            change = Change.of([demand for demand, _, _ in outcomes], cut, every)
            if change.lacks_anchors(every):
                self._reject(no_counters(twins))
                return None
            gain = len(change.dropped) - change.saved_each_time
            if gain < 0 or (gain == 0 and not nested):
                self._reject(no_gain(twins, change))
                return None
            self._wanted.update(write_change(change, editor, self._library))
        except (BodyError, InvalidGraphError) as error:
            self._reject(unreadable(twins.forward, where, error))
            return None
        layout = change.layout
        self._done.plans.append(
            FunctionPlan(
                twins.forward,
                twins.backward,
                blocks,
                len(layout.carried),
                len(change.dropped),
                change.saved_each_time,
                None if layout.anchors is None else layout.anchors[0],
            )
        )
        return change

    def _are_linked(self, shapes: Shapes, level: Graph, twins: Twins) -> bool:
        """Whether the one hands values to the other as a loop or branch does to its gradient."""
        try:
            return any(wires.owned for wires in self._wires(shapes, level, twins))
        except BodyError:
            return False

    def _wires(self, shapes: Shapes, level: Graph, twins: Twins) -> list[Wires]:
        """The bodies of two nodes, branch by branch; nothing where a function is unfit."""
        forward, backward = level[twins.forward], level[twins.backward]
        names = [*bodies_of(forward), *bodies_of(backward)]
        names += [name for node in (forward, backward) if (name := condition_of(node))]
        if any(name in self._calls.broken or name not in self._library.now for name in names):
            return []
        conditions = tuple(
            self._body(level, shapes, node, name)
            for node in (forward, backward)
            if family_of(node) == "loop" and (name := condition_of(node))
        )
        return [
            Wires(
                level,
                twins,
                self._body(level, shapes, forward, first),
                self._body(level, shapes, backward, second),
                conditions,
            )
            for first, second in zip(bodies_of(forward), bodies_of(backward))
        ]

    def _body(self, level: Graph, shapes: Shapes, node: Node, name: str) -> Body:
        function = self._library.now[name]
        if len(arguments_of(node)) != len(function.inputs):
            raise BodyError(f"'{node.name}' does not call '{name}' as it is declared.", node.name)
        return body_for(function, level, shapes, node)

    def _branch(self, wires: Wires, cut: frozenset[Link]) -> tuple[Demand, Done, bool]:
        combined = combine(wires, cut)
        graph = self._prepare(combined)
        level, done = self._run(graph)
        sides = take_apart(combined, done.graph)
        return demand_of(sides), done, level is not graph


def _with_callers(graph: Graph, calls: Calls, wanted: Callable[[Function], bool]) -> frozenset[str]:
    """The functions that are wanted, and all that call them."""
    found = {name for name, function in graph.functions.items() if wanted(function)}
    pending = list(found)
    while pending:
        for site in calls.sites.get(pending.pop(), ()):
            if site.inside != MAIN and site.inside not in found:
                found.add(site.inside)
                pending.append(site.inside)
    return frozenset(found)


def _any_opted_out(level: Graph, twins: Twins) -> bool:
    return is_opted_out(level[twins.forward]) or is_opted_out(level[twins.backward])


def _stored_shapes(function: Function) -> list[Known]:
    """The shapes that a function's arguments are declared with."""
    shapes = (argument_shape(item) for item in function.inputs)
    return [None if shape is None else shape.dims for shape in shapes]
