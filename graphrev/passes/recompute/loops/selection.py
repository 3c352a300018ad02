"""Which loop bodies are computed again: those with marked regions, and those asked for by name.

A scope opened in a loop body marks nodes of the loop's frame and not its LoopCond; a scope around
a whole loop marks both, and is no business of this module. What ``frames`` names is recomputed
whole, whatever regions are marked in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import ControlFlow, GradientLoop
from graphrev.analysis.frames_loops import ROOT
from graphrev.errors import UsageError, printable
from graphrev.passes.recompute.regions import UNFIT_FOR_A_SCOPE, Region
from graphrev.pipeline import Rejection
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.loops.body import is_pure
from graphrev.recomputation.loops.refusals import no_gradient_loop


@dataclass(frozen=True, eq=False)
class Task:
    """One loop with one of its gradient loops.

    Attributes:
        name: fit for a name scope.
        labels: the region of each node that may be computed again; ``None`` where the whole body
            is one region.
        regions: the names of the regions.
        place: the branch of the body that they lie in, if they all lie in one.
    """

    name: str
    pair: GradientLoop
    labels: Mapping[str, str] | None
    regions: tuple[str, ...]
    place: Context | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be done with the regions.

    Attributes:
        tasks: the loops to rewrite.
        others: the regions that lie in no loop body.
        later: the regions in bodies of loops that nobody has differentiated so far.
        rejections: why the rest is left alone.
    """

    tasks: tuple[Task, ...]
    others: tuple[Region, ...]
    later: tuple[Region, ...]
    rejections: tuple[Rejection, ...]


def select(
    facts: Facts, regions: Iterable[Region], frames: str | None, *, defer: bool
) -> Selection:
    """Sorts ``regions`` and finds the loops that ``frames`` names.

    Args:
        frames: a regular expression for frame names; ``None`` names no loop.
        defer: whether regions of loops that nobody has differentiated are to be told apart.

    Raises:
        UsageError: ``frames`` is no regular expression, or matches no loop of a graph that has
            loops.
    """
    named = _named(facts.flow, frames)
    hosted: dict[int, list[Region]] = {}
    others: list[Region] = []
    for region in regions:
        hosts = _hosts(facts, region)
        for number in hosts:
            hosted.setdefault(number, []).append(region)
        if not hosts:
            others.append(region)
    rejections: list[Rejection] = []
    tasks: list[Task] = []
    open_ = facts.undifferentiated_loops if defer else frozenset[int]()
    open_ -= named
    for number in sorted({*named, *hosted} - open_):
        pairs = facts.flow.gradients.get(number, ())
        marked = () if number in named else tuple(hosted[number])
        tasks.extend(_tasks(facts, pairs, marked))
        if not pairs:
            rejections.extend(_refused(facts.flow, number, marked))
    later = dict.fromkeys(
        region for n, regions in hosted.items() if n in open_ for region in regions
    )
    return Selection(tuple(tasks), tuple(others), tuple(later), tuple(rejections))


def _named(flow: ControlFlow, frames: str | None) -> frozenset[int]:
    """The loops that ``frames`` names and that are no gradient loops themselves."""
    if frames is None:
        return frozenset()
    try:
        search = re.compile(frames).search
    except re.error as error:
        shown = printable(frames)
        raise UsageError(f"recompute: '{shown}' is no regular expression: {error}.") from None
    gradients = {pair.backward.number for pairs in flow.gradients.values() for pair in pairs}
    loops = {number: _text(name) for number, (name, _) in _entered(flow).items()}
    found = {number for number, name in loops.items() if search(name)}
    if loops and not found:
        names = ", ".join(sorted({printable(name) for name in loops.values()})[:8])
        raise UsageError(
            f"recompute: frames='{printable(frames)}' matches no loop. The frames are {names}."
        )
    return frozenset(n for n in found if n not in gradients or n in flow.gradients)


def _entered(flow: ControlFlow) -> dict[int, tuple[bytes, str]]:
    """By frame, malformed ones too, its name and an Enter of it."""
    found: dict[int, tuple[bytes, str]] = {}
    for node, number in flow.frames.of.items():
        name = flow.graph[node].attrs.get("frame_name")
        if number not in found and isinstance(name, bytes):
            found[number] = (name, node)
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _hosts(facts: Facts, region: Region) -> tuple[int, ...]:
    """The loops in whose bodies the region lies, and which it does not hold whole."""
    frames, members = facts.flow.frames, frozenset(region.members)
    found = dict.fromkeys(frames.frame(name) for name in region.members)
    return tuple(
        number
        for number in found
        if number != ROOT and number in frames.loops and frames.loops[number].cond not in members
    )


def _tasks(
    facts: Facts, pairs: Iterable[GradientLoop], regions: tuple[Region, ...]
) -> Iterator[Task]:
    for count, pair in enumerate(pairs):
        name = regions[0].name if len(regions) == 1 else _text(pair.forward.name)
        name = UNFIT_FOR_A_SCOPE.sub("_", name) or "loop"
        tail = f"_pass{count}" if count else ""
        labels = _labels(facts, pair, regions) if regions else None
        yield Task(f"{name}{tail}", pair, labels, tuple(region.name for region in regions))


def by_place(
    facts: Facts, contexts: Mapping[str, Context], tasks: Iterable[Task]
) -> Iterator[Task]:
    """The tasks, those of regions in branches of the body apart from the others."""
    for task in tasks:
        labels = task.labels or {}
        here = contexts.get(task.pair.index, ())
        places: dict[str, dict[Context, None]] = {region: {} for region in task.regions}
        for name, region in labels.items():
            if is_pure(facts.graph[name]):
                places[region][contexts.get(name, ())] = None
        inside = [region for region in task.regions if here not in places[region]]
        if len(inside) < len(task.regions) or not any(places.values()):
            yield task
        branches = dict.fromkeys(place for region in inside for place in places[region])
        for number, place in enumerate(branches):
            own = {n: r for n, r in labels.items() if r in inside and contexts.get(n, ()) == place}
            name = f"{task.name}_branch{number}" if len(branches) > 1 else task.name
            yield Task(name, task.pair, own, tuple(dict.fromkeys(own.values())), place)


def _labels(facts: Facts, pair: GradientLoop, regions: Iterable[Region]) -> Mapping[str, str]:
    number, frames = pair.forward.number, facts.flow.frames
    return {
        name: region.name
        for region in regions
        for name in region.members
        if frames.frame(name) == number
    }


def _refused(flow: ControlFlow, number: int, regions: tuple[Region, ...]) -> Iterator[Rejection]:
    for region in regions:
        subject = f"Region '{region.name}'"
        yield no_gradient_loop(flow, number, subject, region.members[:4])
    if not regions:
        name, enter = _entered(flow)[number]
        yield no_gradient_loop(flow, number, f"The body of '{_text(name)}'", (enter,))
