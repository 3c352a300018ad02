"""Whether a block is all that a loop does to two of its variables: then the loop is reversible."""

from __future__ import annotations

from dataclasses import dataclass

from graphrev.analysis.frames_loops import ROOT, Frame, LoopVariable
from graphrev.ir import TensorRef
from graphrev.passes.reversible.halves import Chain
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.passes.reversible.uses import Candidate


@dataclass(frozen=True, slots=True)
class Carry:
    """A loop variable that is a stream: what it is before and after an iteration."""

    variable: LoopVariable
    before: TensorRef
    after: TensorRef


def spanning(
    around: Surroundings, frame: Frame, item: Candidate
) -> tuple[Candidate, tuple[Carry, Carry]] | None:
    """The halves between the state of two loop variables and their next state, if there are such.

    The two variables may change places: what one was, the other may become.
    """
    top = frame.parent == ROOT  # where an Exit that nobody read was pruned, one can be added
    variables = {v.value: v for v in frame.variables if v.exits or top}
    halves = item.chain.halves
    for start, first in enumerate(halves):
        if not first.before <= variables.keys() or len(first.before) != 2:
            continue
        carries = tuple(_carry(around, variables[ref]) for ref in (first.p, first.q))
        ends = frozenset(carry.after for carry in carries)
        for stop in range(start + 1, len(halves) + 1):
            if halves[stop - 1].after == ends and len(ends) == 2:
                chain = Chain(item.chain.name, halves[start:stop])
                return Candidate(chain, item.regions[start:stop]), (carries[0], carries[1])
    return None


def _carry(around: Surroundings, variable: LoopVariable) -> Carry:
    back = around.graph[variable.next].inputs[0]
    return Carry(variable, variable.value, around.origin(back))
