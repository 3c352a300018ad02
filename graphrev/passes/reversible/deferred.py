"""Blocks of a graph that is not differentiated yet: they get a gradient of their own.

Behind each half's ``h`` goes an ``IdentityN`` that carries the deferred gradient (see
:mod:`graphrev.ir.deferred`); the sum reads it instead of ``h``. Streams keep their readers, so the
tensors a program holds stay what they were, and gradients of any of them are right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import MappingProxyType

from graphrev.analysis import ops
from graphrev.editor import GraphEditor
from graphrev.ir import DType, Node, TensorRef
from graphrev.ir.deferred import (
    BLOCK_ATTR,
    DEFERRED_OP,
    GRADIENT,
    GRADIENT_ATTR,
    REGION_ATTR,
)
from graphrev.passes.reversible.drift import worst_drift
from graphrev.passes.reversible.halves import Chain, Half
from graphrev.passes.reversible.plan import BlockPlan, DeferredHalf, HalfPlan
from graphrev.passes.reversible.region import Region
from graphrev.passes.reversible.stateless import add_seed, add_twin, replayed_in
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.passes.reversible.uses import Candidate, backward_readers
from graphrev.pipeline import Code, Rejection
from graphrev.recomputation.facts import ALIAS_OP
from graphrev.recomputation.steps import Replay


def undifferentiated(
    around: Surroundings, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates that a backward pass reads, and those that none does so far.

    A block is not differentiated when no op that only gradient code or an optimizer makes comes
    after it, and some half's inner values have no reader after the block. The second condition is
    for gradients that consist of ordinary ops alone, as those of linear layers do.
    """
    ends = [[ref.node for ref in item.chain.outputs] for item in candidates]
    reached = around.reached_by_gradients(ends)
    open_ = [item for item, hit in zip(candidates, reached) if not hit]
    readers = dict(zip(map(id, open_), backward_readers(around, open_)))
    later: list[Candidate] = []
    for item in open_:
        used = {use.half for use in readers[id(item)].uses if use.stream is None}
        if any(r.nodes and place not in used for place, r in enumerate(item.regions)):
            later.append(item)
    chosen = set(map(id, later))
    return [item for item in candidates if id(item) not in chosen], list(map(_paired, later))


def undifferentiated_in_loops(
    around: Surroundings, candidates: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """Of candidates that lie in loop bodies those whose loop is differentiated, and the others."""
    frames = around.flow.frames
    numbers = [frames.frame(item.chain.halves[-1].y.node) for item in candidates]
    open_ = around.undifferentiated_loops
    now = [item for item, number in zip(candidates, numbers) if number not in open_]
    later = [item for item, number in zip(candidates, numbers) if number in open_]
    return now, list(map(_paired, later))


def plan_deferred(
    around: Surroundings, item: Candidate, saved: frozenset[TensorRef], replayed: frozenset[str]
) -> BlockPlan | Rejection:
    """How a block gets its gradient, or what is not known that would have to be."""
    chain = item.chain
    replays = replayed_in(around, item, replayed)
    deferred: list[DeferredHalf] = []
    for half, region in zip(chain.halves, item.regions):
        outcome = _half(around, half, region, half.p in saved, replays)
        if isinstance(outcome, Rejection):
            return outcome
        deferred.append(outcome)
    dtype = around.dtype(around.graph[chain.halves[-1].y.node])
    return BlockPlan(
        name=chain.name,
        scope="",
        halves=tuple(
            HalfPlan(half, region.nodes, (), (), half.p not in saved, ())
            for half, region in zip(chain.halves, item.regions)
        ),
        saved=tuple(stream for stream in chain.streams if stream in saved),
        guards=(),
        replays=replays,
        drift=worst_drift(dtype or DType.FLOAT, chain, saved),
        freed_bytes=None,
        saved_bytes=None,
        deferred=tuple(deferred),
    )


def write_deferred(block: BlockPlan, editor: GraphEditor) -> None:
    """Adds the gradient of every half of ``block``."""
    seeds: dict[str, TensorRef] = {}
    with editor.because(block.name, "draw from a saved seed"):
        for replay in block.replays:
            seeds[replay.node] = add_seed(replay.node, editor)
            add_twin(replay, seeds[replay.node], editor)
    for place, plan in enumerate(block.deferred):
        half = block.halves[place].half
        drawn = tuple((seeds[name], DType.INT32) for name in plan.replayed)
        with editor.because(block.name, f"recompute {half.h} when it is differentiated"):
            _write_half(block.name, half, plan, drawn, editor)


def _write_half(
    block: str,
    half: Half,
    plan: DeferredHalf,
    drawn: tuple[tuple[TensorRef, DType], ...],
    editor: GraphEditor,
) -> None:
    inputs = ((half.h, plan.dtype), *plan.captures, *drawn, (plan.start, plan.dtype))
    node = Node(
        name=editor.unique_name(f"{half.h.node}/recompute"),
        op=DEFERRED_OP,
        inputs=tuple(ref for ref, _ in inputs),
        device=editor[half.h.node].device,
        attrs=MappingProxyType(
            {
                "T": tuple(dtype for _, dtype in inputs),
                GRADIENT_ATTR: GRADIENT.encode(),
                REGION_ATTR: (1, 1, int(plan.kept)),
                BLOCK_ATTR: block.encode(),
            }
        ),
    )
    editor.set_input(half.y.node, plan.place, TensorRef(editor.add(node)))


def _half(
    around: Surroundings, half: Half, region: Region, kept: bool, replays: Sequence[Replay]
) -> DeferredHalf | Rejection:
    captures: list[tuple[TensorRef, DType]] = []
    for ref in _read_from_outside(around, half, region):
        dtype = ops.output_dtype(around.graph[ref.node], ref.index)
        if dtype is None:
            reason = f"The type of '{ref}', which '{half.h.node}' is computed from, is not known."
            return Rejection(Code.UNKNOWN_OP, reason, (ref.node, half.y.node))
        captures.append((ref, dtype.base))
    operands = around.graph[half.y.node].inputs
    places = [i for i in (0, 1) if operands[i] == half.h]
    place = next(i for i in places if around.origin(operands[1 - i]) == half.p)
    dtype = around.dtype(around.graph[half.y.node]) or DType.FLOAT
    inside = set(region.nodes)
    drawn = tuple(replay.node for replay in replays if replay.node in inside)
    start = _start(around, half, inside)
    return DeferredHalf(place, start, tuple(captures), dtype, kept, drawn)


def _start(around: Surroundings, half: Half, inside: Collection[str]) -> TensorRef:
    """``q`` as the region reads it: a loop variable through the one identity TensorFlow makes.

    The gradient of a loop variable itself is the back edge of the gradient loop, which is built
    when the first reader of the variable passes its gradient on, and takes no second one.
    """
    if not ops.is_control_flow_v1(around.graph[half.q.node].op):
        return half.q
    readers = [name for name in around.graph.readers_of(half.q) if name in inside]
    through = [name for name in readers if around.graph[name].op == ALIAS_OP]
    return TensorRef(through[0]) if len(readers) == len(through) == 1 else half.q


def _read_from_outside(around: Surroundings, half: Half, region: Region) -> Iterable[TensorRef]:
    """The captures in graph order; constants without gradients are not listed, they are found."""
    found = set(region.captures)
    if half.h.node not in region.nodes and half.h != half.q:
        found.add(half.h)
    listed = (ref for ref in found if not _is_plain_constant(around.graph[ref.node]))
    return sorted(listed, key=lambda ref: (around.position(ref.node), ref.index))


def _is_plain_constant(node: Node) -> bool:
    dtype = node.attrs.get("dtype")
    floats = isinstance(dtype, DType) and (dtype.is_floating or dtype.is_complex)
    return ops.is_constant(node.op) and not floats


def _paired(item: Candidate) -> Candidate:
    """Without a half that is left over: what follows the last pair may look like one more."""
    even = len(item.chain.halves) // 2 * 2
    chain = Chain(item.chain.name, item.chain.halves[:even])
    return Candidate(chain, item.regions[:even])
