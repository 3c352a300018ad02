"""The reversible pass: residual pairs are undone in the backward pass instead of remembered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from graphrev.analysis import ops
from graphrev.analysis.frames import Context, control_contexts, is_outside_loops
from graphrev.editor import GraphEditor
from graphrev.errors import UsageError
from graphrev.ir import DType, Graph, TensorRef
from graphrev.ir.deferred import is_deferred
from graphrev.passes.reversible.apply import apply_reversible
from graphrev.passes.reversible.branches import (
    fit_into_branch,
    has_branches,
    undifferentiated_branch,
)
from graphrev.passes.reversible.chains import join
from graphrev.passes.reversible.checks import Checks
from graphrev.passes.reversible.cycles import without_cycles
from graphrev.passes.reversible.deferred import (
    plan_deferred,
    undifferentiated,
    undifferentiated_in_loops,
)
from graphrev.passes.reversible.drift import (
    anchored_streams,
    longest_segment,
    worst_drift,
)
from graphrev.passes.reversible.functions import WANTED, anchors
from graphrev.passes.reversible.halves import Chain, Half, Pair
from graphrev.passes.reversible.loops.blocks import Limits
from graphrev.passes.reversible.loops.planning import plan_loops
from graphrev.passes.reversible.marked import find_marked
from graphrev.passes.reversible.plan import BlockPlan, ReversiblePlan
from graphrev.passes.reversible.planner import plan_passes
from graphrev.passes.reversible.region import Region
from graphrev.passes.reversible.search import Found, search
from graphrev.passes.reversible.sums import is_sum
from graphrev.passes.reversible.surroundings import BLOCK_ATTR, Surroundings
from graphrev.passes.reversible.ties import compares, kept_for
from graphrev.passes.reversible.uses import Candidate, Readers, backward_readers
from graphrev.pipeline import Code, Pass, Rejection
from graphrev.recomputation.differentiated import is_forward_only
from graphrev.recomputation.functions.levels import behind_functions, beside_functions, on_bodies
from graphrev.recomputation.functions.rewriting import rewrite_functions
from graphrev.recomputation.snapshots import copied, overwritten


@dataclass(frozen=True)
class Reversible(Pass[ReversiblePlan]):
    """Rebuilds the activations of residual pairs in the backward pass instead of keeping them.

    After ``y1 = x1 + f(x2)``, ``y2 = x2 + g(y1)`` the inputs follow from the outputs (Gomez et al.
    2017), so no activation between them is kept. In a graph that holds its gradients the backward
    pass is rewritten; a block that nothing differentiates yet gets a gradient of its own, which
    does the same when ``tf.gradients`` comes by in a program that has imported graphrev.

    Attributes:
        detect: ``marked`` takes pairs that carry a mark; ``structural`` finds them in any graph.
        random: ``save`` keeps the tensors random ops drew; ``stateless`` keeps their seeds.
        anchor_every: keep the streams of one pair in this many, which bounds the drift.
        max_drift: choose the anchors so that the estimated relative drift stays below this.
        forward: ``defer`` gives blocks that no backward pass reads a gradient of their own;
            ``reject`` leaves them alone.
        fed: tensors ("name:0") that are fed by name; blocks around them are left alone.
        fetched: tensors that are fetched by name; such a stream is kept, since it is alive anyway.
        functions: ``rewrite`` rewrites functions and functional control flow too; ``copy`` leaves
            functions as they are and lets loops and branches that nobody has differentiated run
            rewritten copies, as a live graph needs it; ``keep`` leaves all as it is.
    """

    name: ClassVar[str] = "reversible"

    detect: Literal["marked", "structural"] = "marked"
    random: Literal["save", "stateless"] = "save"
    anchor_every: int | None = None
    max_drift: float | None = None
    forward: Literal["defer", "reject"] = "defer"
    fed: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    functions: Literal["rewrite", "copy", "keep"] = "rewrite"

    def __post_init__(self) -> None:
        """Refuses options that make no sense.

        Raises:
            UsageError: ``anchor_every`` is below 1 or ``max_drift`` is not positive.
        """
        if self.anchor_every is not None and self.anchor_every < 1:
            raise UsageError("reversible: anchor_every must be at least 1.")
        if self.max_drift is not None and not self.max_drift > 0:
            raise UsageError("reversible: max_drift must be a positive number.")

    def analyze(self, graph: Graph) -> ReversiblePlan:
        """Finds the blocks, plans each, and says why every near miss is left alone."""
        if not graph.functions:
            return self._analyze_level(graph)
        undifferentiated = is_forward_only(graph)
        if self.functions == "keep" or (self.functions == "copy" and not undifferentiated):
            return beside_functions(graph, self._analyze_level, WANTED[self.detect])
        forward = self.forward if undifferentiated else "reject"
        inner = replace(self, forward=forward, fed=(), fetched=(), functions="keep")
        limits = Limits(self.anchor_every, self.max_drift)
        done = rewrite_functions(
            graph,
            on_bodies(self, inner._analyze_level),
            WANTED[self.detect],
            anchors=partial(anchors, limits) if limits.are_set else None,
            copies=self.functions == "copy",
        )
        return behind_functions(done, self._analyze_level)

    def _analyze_level(self, graph: Graph) -> ReversiblePlan:
        """The same for the graph itself, its functions left as they are."""
        around = Surroundings.of(graph)
        found = self._find(around)
        replayed = self._replayed(graph)
        regions, misses = self._regions(around, found.pairs, replayed)
        whole = [p for p in found.pairs if all(half in regions for half in p.halves)]
        chains, overlaps = join(around, whole)
        candidates, done = _unfinished(around, [_candidate(chain, regions) for chain in chains])
        contexts = control_contexts(around.graph) if candidates else {}
        outside = [item for item in candidates if is_outside_loops(_place(item, contexts))]
        inside = [item for item in candidates if not is_outside_loops(_place(item, contexts))]
        later: list[Candidate] = []
        if self.forward == "defer":
            inside, looped = undifferentiated_in_loops(around, inside)
            outside, later = undifferentiated(around, outside)
            later = [*looped, *later]
        loops = plan_loops(around, contexts, inside, Limits(self.anchor_every, self.max_drift))
        done += [undifferentiated_branch(i.chain) for i in later if has_branches(contexts, i)]
        later = [item for item in later if not has_branches(contexts, item)]
        plans: list[BlockPlan] = []
        rejections = [*found.near_misses, *misses, *overlaps, *done]
        work = [*self._trimmed(around, outside), *((item, None) for item in later)]
        for item, readers in work:
            for outcome in self._plan(around, item, readers, replayed):
                if isinstance(outcome, BlockPlan):
                    plans.append(fit_into_branch(outcome, contexts, item.chain))
                else:
                    rejections.append(outcome)
        deferred = tuple(plan for plan in plans if plan.deferred)
        blocks, cyclic = without_cycles(around, [plan for plan in plans if not plan.deferred])
        rejections = [*rejections, *cyclic, *loops.rejections]
        names = {name for plan in blocks for half in plan.halves for name in half.clones}
        names |= {name for item in later for region in item.regions for name in region.nodes}
        return ReversiblePlan(
            tuple(rejections),
            (*blocks, *deferred),
            loops.plans,
            loop_edits=loops.edits,
            snapshots=around.snapshots.of(names | copied(loops.edits)),
        )

    def apply(self, plan: ReversiblePlan, editor: GraphEditor) -> None:
        """Adds the recomputation of every planned block and re-points its backward readers."""
        apply_reversible(plan, editor)

    def _trimmed(
        self, around: Surroundings, candidates: Sequence[Candidate], tries: int = 3
    ) -> list[tuple[Candidate, Readers]]:
        """The candidates with their backward readers.

        What follows the last pair may look like one more half (``loss(y1 + 0.5 * y2)``). A half at
        the end of which no inner value is read by the backward pass frees nothing, so it is left
        out, unless a mark asks for it.
        """
        readers = backward_readers(around, candidates)
        if self.detect == "marked" or not tries:
            return list(zip(candidates, readers))
        shorter = [_without_idle_end(item, r) for item, r in zip(candidates, readers)]
        if all(new is old for new, old in zip(shorter, candidates)):
            return list(zip(candidates, readers))
        return self._trimmed(around, shorter, tries - 1)

    def _find(self, around: Surroundings) -> Found:
        if self.detect == "marked":
            return find_marked(around)
        ours = around.gradient_side | around.gradient_loops
        sums = [
            name
            for name, node in around.graph.nodes.items()
            if is_sum(node)
            and name not in ours
            and BLOCK_ATTR not in node.attrs
            and _may_be_stream(around, name)
        ]
        return search(around, sums)

    def _replayed(self, graph: Graph) -> frozenset[str]:
        if self.random == "save":
            return frozenset()
        return frozenset(
            name for name, node in graph.nodes.items() if ops.stateless_twin(node.op) is not None
        )

    def _regions(
        self, around: Surroundings, pairs: Iterable[Pair], replayed: frozenset[str]
    ) -> tuple[dict[Half, Region], list[Rejection]]:
        pairs = tuple(pairs)
        contexts = control_contexts(around.graph) if pairs else {}
        checks = Checks(
            around,
            contexts,
            _tensors(self.fed),
            replayed,
            self.random == "stateless",
            self.detect == "marked",
        )
        inside = replace(checks, replayed=frozenset(), replay_random=False)
        regions: dict[Half, Region] = {}
        misses: list[Rejection] = []
        for half in dict.fromkeys(half for pair in pairs for half in pair.halves):
            done = is_deferred(around.graph[half.h.node])
            looped = not is_outside_loops(contexts.get(half.y.node, ()))
            outcome = _already(half) if done else (inside if looped else checks).region(half)
            if isinstance(outcome, Region):
                regions[half] = outcome
            else:
                misses.append(outcome)
        return regions, misses

    def _plan(
        self,
        around: Surroundings,
        item: Candidate,
        readers: Readers | None,
        replayed: frozenset[str],
    ) -> Iterator[BlockPlan | Rejection]:
        """A plan for each backward pass through the chain, or why there is none."""
        chain = item.chain
        dtype = around.dtype(around.graph[chain.halves[-1].y.node]) or DType.FLOAT
        kept = anchored_streams(chain, self._anchor_every(dtype, chain))
        fetched = frozenset(chain.streams) & _tensors(self.fetched)
        yield from (_fetched(chain, stream) for stream in chain.streams if stream in fetched)
        compared = _compared(around, chain, readers)
        yield from kept_for(chain, compared)
        saved = kept | fetched | {stream for stream, _ in compared}
        drift = worst_drift(dtype, chain, saved)
        if self.max_drift is not None and drift > self.max_drift:
            yield _drifts(chain, drift, self.max_drift)
        elif readers is None:
            names = [name for region in item.regions for name in region.nodes]
            refused = overwritten(around.snapshots, names, f"block '{chain.name}'")
            yield refused or plan_deferred(around, item, saved, replayed)
        else:
            yield from plan_passes(around, item, readers, saved, replayed)

    def _anchor_every(self, dtype: DType, chain: Chain) -> int | None:
        if self.anchor_every is not None or self.max_drift is None:
            return self.anchor_every
        if worst_drift(dtype, chain, frozenset()) <= self.max_drift:
            return None
        return longest_segment(dtype, self.max_drift)


def _compared(
    around: Surroundings, chain: Chain, readers: Readers | None
) -> list[tuple[TensorRef, str]]:
    """The streams that a backward reader compares, each with the reader."""
    uses = readers.uses if readers is not None else ()
    return [
        (use.stream, use.reader)
        for use in uses
        if use.stream is not None and compares(around.graph, chain, use.stream, use.reader)
    ]


def _place(item: Candidate, contexts: Mapping[str, Context]) -> Context:
    """The loop or branch that a chain lies in."""
    return contexts.get(item.chain.halves[-1].y.node, ())


def _candidate(chain: Chain, regions: Mapping[Half, Region]) -> Candidate:
    """A chain with its regions, without last halves that compute nothing (``y1 - y2``)."""
    halves = chain.halves
    while len(halves) > 2 and not regions[halves[-1]].nodes:
        halves = halves[:-1]
    return Candidate(Chain(chain.name, halves), tuple(regions[half] for half in halves))


def _without_idle_end(item: Candidate, readers: Readers) -> Candidate:
    halves = item.chain.halves
    inner = {use.half for use in readers.uses if use.stream is None}
    if len(halves) <= 2 or len(halves) - 1 in inner:
        return item
    return Candidate(Chain(item.chain.name, halves[:-1]), item.regions[:-1])


def _may_be_stream(around: Surroundings, name: str) -> bool:
    dtype = around.dtype(around.graph[name])
    return dtype is not None and not dtype.is_complex and dtype.name not in ("STRING", "BOOL")


def _tensors(names: Iterable[str]) -> frozenset[TensorRef]:
    parts = (name.rpartition(":") for name in names)
    return frozenset(
        TensorRef(head, int(tail)) if head and tail.isdigit() else TensorRef(head + colon + tail)
        for head, colon, tail in parts
    )


def _already(half: Half) -> Rejection:
    reason = f"'{half.h.node}' recomputes itself already when it is differentiated."
    return Rejection(Code.ALREADY_REWRITTEN, reason, (half.y.node, half.h.node))


def _unfinished(
    around: Surroundings, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], list[Rejection]]:
    """The chains that no earlier run has rewritten, and a rejection for each other one."""
    left: list[Candidate] = []
    done: list[Rejection] = []
    for item in candidates:
        if around.recomputed.isdisjoint(item.forward):
            left.append(item)
        else:
            reason = f"Block '{item.chain.name}' is recomputed already."
            done.append(Rejection(Code.ALREADY_REWRITTEN, reason, item.chain.nodes))
    return left, done


def _drifts(chain: Chain, drift: float, limit: float) -> Rejection:
    reason = f"Block '{chain.name}' would drift by about {drift:.1e}, more than {limit:.1e}."
    return Rejection(Code.DRIFT, reason, chain.nodes)


def _fetched(chain: Chain, stream: TensorRef) -> Rejection:
    reason = f"Stream '{stream}' of block '{chain.name}' is fetched, so it is kept as it is."
    return Rejection(Code.FETCHED, reason, (stream.node,))
