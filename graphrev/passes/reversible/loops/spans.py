"""Whether blocks are all that a loop does to two of its variables: then the loop is reversible.

What happens to the two in one iteration is a sequence of *steps*: halves of blocks in the loop's
body, and inner loops that are reversible themselves. Each step starts from the state, two tensors
of the body, that the one before left behind; the first starts from the two variables, and the last
leaves their next values behind. So spans are found from the inside out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, TypeAlias

from graphrev.analysis.frames_gradients import GradientLoop
from graphrev.analysis.frames_loops import ROOT, LoopVariable
from graphrev.ir import TensorRef
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.passes.reversible.uses import Candidate

State: TypeAlias = frozenset[TensorRef]
SpanKey: TypeAlias = tuple[int, int, frozenset[str]]
"""The forward and the gradient frame, and the Merges of the two variables."""


@dataclass(frozen=True, slots=True)
class Carry:
    """A loop variable that is a stream: what it is before and after an iteration."""

    variable: LoopVariable
    before: TensorRef
    after: TensorRef


@dataclass(frozen=True, eq=False)
class Task:
    """A block, or some of its halves, and the pair of loops it is to be rewritten in.

    Attributes:
        foreign: nodes that other steps of the same span undo.
    """

    item: Candidate
    pair: GradientLoop
    foreign: frozenset[str] = frozenset()
    is_nest: ClassVar[bool] = False

    @property
    def whole(self) -> frozenset[Task]:
        """The blocks it is made of, as of a span: itself."""
        return frozenset({self})

    def tasks(self) -> Iterator[Task]:
        """Its steps, as of a span: itself."""
        yield self


@dataclass(frozen=True, eq=False)
class Span:
    """A loop that does nothing to two of its variables but what can be undone.

    Attributes:
        carries: the two variables; they may change places.
        steps: what is done to them in an iteration, in order.
        whole: the blocks that the steps are made of, inner ones too, as they were found.
    """

    pair: GradientLoop
    carries: tuple[Carry, Carry]
    steps: tuple[Task | Span, ...]
    whole: frozenset[Task]

    @property
    def key(self) -> SpanKey:
        """Names the span in one graph."""
        merges = frozenset(carry.variable.merge for carry in self.carries)
        return self.pair.forward.number, self.pair.backward.number, merges

    @cached_property
    def is_nest(self) -> bool:
        """Whether a step is a loop."""
        return any(isinstance(step, Span) for step in self.steps)

    def tasks(self) -> Iterator[Task]:
        """The steps that are halves of blocks, those of inner loops too."""
        for step in self.steps:
            yield from step.tasks()


@dataclass(frozen=True, eq=False)
class _Step:
    """One half of a block, or an inner loop."""

    before: State
    after: State
    task: Task
    place: int
    inner: Span | None = None


def find_spans(
    around: Surroundings,
    pairs: Iterable[GradientLoop],
    tasks: Sequence[Task],
    apart: AbstractSet[SpanKey],
    *,
    nests: bool,
) -> tuple[Span, ...]:
    """The spans that are no step of another one.

    Args:
        pairs: all pairs of loops.
        tasks: blocks that lie in a loop body, in no branch of it.
        apart: spans that are not to be made of inner loops.
        nests: whether any span may be.
    """
    halves: dict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        halves[id(task.pair)].append(task)
    left: dict[int, list[Span]] = defaultdict(list)
    done: list[Span] = []
    for pair in sorted(pairs, key=_depth, reverse=True):
        flat = list(_halves(halves.get(id(pair), ())))
        inner = left.pop(id(pair), [])
        loops = (_loop(around, span) for span in inner) if nests else ()
        spans = _spans(around, pair, [*flat, *(step for step in loops if step is not None)])
        if any(span.is_nest and span.key in apart for span in spans):
            spans = _spans(around, pair, flat)
        used = {id(step) for span in spans for step in span.steps}
        done += [span for span in inner if id(span) not in used]
        (done if pair.outer is None else left[id(pair.outer)]).extend(spans)
    return tuple(done)


def _depth(pair: GradientLoop) -> int:
    return 0 if pair.outer is None else 1 + _depth(pair.outer)


def _halves(tasks: Iterable[Task]) -> Iterator[_Step]:
    for task in tasks:
        for place, half in enumerate(task.item.chain.halves):
            yield _Step(half.before, half.after, task, place)


def _loop(around: Surroundings, span: Span) -> _Step | None:
    """An inner loop as a step of the loop around it."""
    if any(len(carry.variable.exits) != 1 for carry in span.carries):
        return None
    before = frozenset(start_of(around, carry) for carry in span.carries)
    after = frozenset(TensorRef(carry.variable.exits[0]) for carry in span.carries)
    return _Step(before, after, next(span.tasks()), 0, span)


def start_of(around: Surroundings, carry: Carry) -> TensorRef:
    """What a variable of a loop starts from, in the loop around it."""
    return around.origin(around.graph[carry.variable.enter].inputs[0])


def _spans(around: Surroundings, pair: GradientLoop, steps: Iterable[_Step]) -> list[Span]:
    frame = pair.forward
    top = frame.parent == ROOT  # where an Exit that nobody read was pruned, one can be added
    variables = {v.value: v for v in frame.variables if v.exits or top}
    by_state: dict[State, list[_Step]] = defaultdict(list)
    for step in steps:
        by_state[step.before].append(step)
    found: list[Span] = []
    taken: set[TensorRef] = set()
    for start in tuple(by_state):
        if len(start) != 2 or not start <= variables.keys() or start & taken:
            continue
        first, second = sorted(start, key=lambda ref: (around.position(ref.node), ref.index))
        carries = (_carry(around, variables[first]), _carry(around, variables[second]))
        ends = frozenset(carry.after for carry in carries)
        way = _way(by_state, start, ends) if len(ends) == 2 else ()
        if way:
            taken |= start
            found.append(_span(pair, carries, way))
    return found


def _carry(around: Surroundings, variable: LoopVariable) -> Carry:
    back = around.graph[variable.next].inputs[0]
    return Carry(variable, variable.value, around.origin(back))


def _way(steps: Mapping[State, Sequence[_Step]], start: State, ends: State) -> tuple[_Step, ...]:
    """The steps from one state to another; nothing if no way leads there."""
    pending: list[tuple[State, tuple[_Step, ...]]] = [(start, ())]
    seen: set[State] = set()
    while pending:
        state, way = pending.pop()
        if state == ends and way:
            return way
        if state not in seen:
            seen.add(state)
            pending.extend((step.after, (*way, step)) for step in steps.get(state, ()))
    return ()


def _span(pair: GradientLoop, carries: tuple[Carry, Carry], way: Sequence[_Step]) -> Span:
    steps: list[Task | Span] = []
    whole: set[Task] = set()
    run: list[_Step] = []
    for step, following in zip(way, (*way[1:], None)):
        if step.inner is not None:
            steps.append(step.inner)
            whole |= step.inner.whole
            continue
        run.append(step)
        if following is None or following.inner is not None or following.task is not step.task:
            steps.append(_part(run))
            whole.add(step.task)
            run = []
    parts = [step for step in steps if isinstance(step, Task)]
    nodes = {part: _nodes(part.item) for part in parts}
    all_ = frozenset[str]().union(*nodes.values())
    known = {part: replace(part, foreign=all_ - nodes[part]) for part in parts}
    known_steps = (known[step] if isinstance(step, Task) else step for step in steps)
    return Span(pair, carries, tuple(known_steps), frozenset(whole))


def _part(run: Sequence[_Step]) -> Task:
    """The halves of one block that follow each other."""
    task, places = run[0].task, [step.place for step in run]
    item, begin, end = task.item, places[0], places[-1] + 1
    chain = Chain(item.chain.name, item.chain.halves[begin:end])
    return replace(task, item=Candidate(chain, item.regions[begin:end]))


def _nodes(item: Candidate) -> frozenset[str]:
    return item.forward | {ref.node for ref in item.chain.streams}
