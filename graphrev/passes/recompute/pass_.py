"""The recompute pass: marked regions are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from graphrev.analysis import ops
from graphrev.analysis.frames import Context, control_contexts
from graphrev.analysis.shapes import infer_shapes
from graphrev.editor import GraphEditor
from graphrev.ir import Graph, TensorRef
from graphrev.passes.recompute.apply import apply_recompute
from graphrev.passes.recompute.backward_passes import BackwardPass, Readers
from graphrev.passes.recompute.deferred import Deferrer, by_differentiation
from graphrev.passes.recompute.functions import (
    has_marks,
    in_functions,
    names_functional_loops_alone,
)
from graphrev.passes.recompute.loops.planning import plan_loops
from graphrev.passes.recompute.loops.selection import select
from graphrev.passes.recompute.ordering import without_cycles, without_joint_cycles
from graphrev.passes.recompute.plan import RecomputePlan, RegionPlan
from graphrev.passes.recompute.planner import Planner
from graphrev.passes.recompute.readers import backward_readers
from graphrev.passes.recompute.regions import Region, marked_regions
from graphrev.passes.recompute.triggers import with_triggers
from graphrev.pipeline import Code, Pass, Rejection
from graphrev.recomputation.differentiated import is_forward_only
from graphrev.recomputation.facts import Facts
from graphrev.recomputation.functions.levels import behind_functions, beside_functions, on_bodies
from graphrev.recomputation.snapshots import copied


@dataclass(frozen=True)
class Recompute(Pass[RecomputePlan]):
    """Computes regions marked by ``recompute_scope`` again in the backward pass.

    What enters a region is kept, and so is what leaves it where another region starts from it. The
    values between that gradients read are computed a second time, when the gradients of the next
    region are done (Chen et al. 2016), so gradients are the very same bits. A region that nothing
    differentiates yet gets a gradient of its own, which does the same when ``tf.gradients`` comes
    by in a program that has imported graphrev.

    A region in the body of a v1 while loop is computed again in each iteration of the gradient
    loop, from what it reads of the loop variables; the stacks of its other values go.

    Attributes:
        frames: a regular expression; the whole body of each loop whose frame name it is found in is
            a region, whatever is marked there.
        forward: ``defer`` gives regions that no backward pass reads a gradient of their own;
            ``reject`` leaves them alone.
        random: ``save`` keeps the tensors random ops drew; ``stateless`` keeps their seeds.
        fed: tensors ("name:0") that are fed by name; regions around them are left alone.
        fetched: tensors that are fetched by name; they are alive anyway and are not recomputed.
        functions: ``rewrite`` rewrites functions and functional control flow too; ``copy`` leaves
            functions as they are and lets loops and branches that nobody has differentiated run
            rewritten copies, as a live graph needs it; ``keep`` leaves all as it is.
    """

    name: ClassVar[str] = "recompute"

    frames: str | None = None
    forward: Literal["defer", "reject"] = "defer"
    random: Literal["save", "stateless"] = "save"
    fed: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    functions: Literal["rewrite", "copy", "keep"] = "rewrite"

    def analyze(self, graph: Graph) -> RecomputePlan:
        """Finds the marked regions, plans each, and says why any is left alone."""
        if not graph.functions:
            return self._analyze_level(graph)
        undifferentiated = is_forward_only(graph)
        if self.functions == "keep" or (self.functions == "copy" and not undifferentiated):
            return beside_functions(graph, self._analyze_level, has_marks)
        forward = self.forward if undifferentiated else "reject"
        inner = replace(self, frames=None, forward=forward, fed=(), fetched=(), functions="keep")
        copies = self.functions == "copy"
        done = in_functions(
            graph, on_bodies(self, inner._analyze_level), self.frames, copies=copies
        )
        outer = self
        if self.frames is not None and names_functional_loops_alone(graph, self.frames):
            outer = replace(self, frames=None)
        return behind_functions(done, outer._analyze_level)

    def _analyze_level(self, graph: Graph) -> RecomputePlan:
        """The same for the graph itself, its functions left as they are."""
        facts = Facts.of(graph)
        replayed = self._replayed(graph)
        contexts = control_contexts(graph)
        found = marked_regions(facts, contexts, replayed)
        marked = [region for region in found if region.nodes]
        bare = tuple(_bare_loop(r) for r in found if r.around_loop and not r.nodes)
        if not marked and self.frames is None:
            return RecomputePlan(bare)
        chosen = select(facts, marked, self.frames, defer=self.forward == "defer")
        regions = list(chosen.others)
        fetched = _tensors(self.fetched)
        planner = self._planner(facts, contexts, replayed)
        now, later = regions, list[Region]()
        if self.forward == "defer":
            now, later = by_differentiation(facts, regions)
        readers = backward_readers(facts, now, fetched)
        plans, passes, refused = _plans(planner, zip(now, readers))
        planned, unheld = with_triggers(facts, plans, passes, contexts)
        planned, cyclic = without_cycles(facts, planned)
        planned = _whole(plans, planned)
        deferred, left = _deferred(planner, later, chosen.later)
        notes = _fetched(regions, fetched)
        loops = plan_loops(planner, chosen.tasks)
        outside = (*notes, *bare, *refused, *unheld, *cyclic, *left)
        rejections = (*outside, *chosen.rejections, *loops.rejections)
        names = {name for plan in (*planned, *deferred) for name in plan.clones}
        return RecomputePlan(
            rejections,
            (*planned, *deferred),
            loops.plans,
            loop_edits=loops.edits,
            snapshots=planner.snapshots.of(names | copied(loops.edits)),
        )

    def apply(self, plan: RecomputePlan, editor: GraphEditor) -> None:
        """Adds the recomputation of every planned region and re-points its backward readers."""
        apply_recompute(plan, editor)

    def _planner(
        self, facts: Facts, contexts: Mapping[str, Context], replayed: frozenset[str]
    ) -> Planner:
        return Planner(
            facts,
            infer_shapes(facts.graph, skip=facts.gradient_side),
            contexts,
            _tensors(self.fed),
            replayed,
            self.random == "stateless",
        )

    def _replayed(self, graph: Graph) -> frozenset[str]:
        if self.random == "save":
            return frozenset()
        return frozenset(
            name for name, node in graph.nodes.items() if ops.stateless_twin(node.op) is not None
        )


def _plans(
    planner: Planner, work: Iterable[tuple[Region, Readers]]
) -> tuple[list[RegionPlan], list[BackwardPass], list[Rejection]]:
    """Plans without triggers, the backward pass that each is for, and the refusals."""
    plans: list[RegionPlan] = []
    passes: list[BackwardPass] = []
    refused: list[Rejection] = []
    for region, readers in work:
        outcome = planner.plans(region, readers)
        if isinstance(outcome, Rejection):
            refused.append(outcome)
        else:
            plans.extend(outcome)
            passes.extend(readers.passes)
    return plans, passes, refused


def _whole(plans: Iterable[RegionPlan], kept: Iterable[RegionPlan]) -> list[RegionPlan]:
    """Those of ``kept`` whose region is recomputed in all its passes: one would keep it anyway."""
    kept = list(kept)
    names = {plan.name for plan in kept}
    broken = {plan.rank for plan in plans if plan.name not in names}
    return [plan for plan in kept if plan.rank not in broken]


def _deferred(
    planner: Planner, regions: Iterable[Region], looped: Sequence[Region]
) -> tuple[list[RegionPlan], list[Rejection]]:
    """Plans for regions that nothing differentiates yet, in loops too, and the refusals."""
    deferrer = Deferrer(planner.facts, planner, looped)
    outcomes = [deferrer.plan(region) for region in (*regions, *looped)]
    planned = [outcome for outcome in outcomes if isinstance(outcome, RegionPlan)]
    kept, cyclic = without_joint_cycles(planner.facts, planned)
    return kept, [*(o for o in outcomes if isinstance(o, Rejection)), *cyclic]


def _bare_loop(region: Region) -> Rejection:
    reason = (
        f"Region '{region.name}' holds a loop and nothing else: open the scope in its body, "
        "or name its frame with frames=…"
    )
    return Rejection(Code.CROSSES_FRAME, reason, region.members[:4])


def _fetched(regions: Iterable[Region], fetched: frozenset[TensorRef]) -> list[Rejection]:
    found: list[Rejection] = []
    for region in regions:
        inside = set(region.nodes)
        for ref in sorted(fetched, key=str):
            if ref.node in inside:
                reason = f"'{ref}' of region '{region.name}' is fetched, so it is kept as it is."
                found.append(Rejection(Code.FETCHED, reason, (ref.node,)))
    return found


def _tensors(names: Iterable[str]) -> frozenset[TensorRef]:
    parts = (name.rpartition(":") for name in names)
    return frozenset(
        TensorRef(head, int(tail)) if head and tail.isdigit() else TensorRef(head + colon + tail)
        for head, colon, tail in parts
    )
