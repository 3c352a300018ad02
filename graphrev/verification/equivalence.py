"""Runs two graphs side by side and compares everything a training step computes.

Both graphs get the same feeds, the same variables and the same random seeds. Where a random op was
made stateless its numbers differ by design: the numbers the rewritten graph drew are fed to the
original, so that all that follows must agree.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from graphrev.analysis import ops
from graphrev.analysis.shapes import infer_shapes
from graphrev.errors import VerificationError, printable
from graphrev.ir import Graph, TensorRef
from graphrev.ir import verify as structure
from graphrev.verification.choices import (
    Fetches,
    ancestors,
    choose_fetches,
    tensor_named,
)
from graphrev.verification.draws import drawing_alike
from graphrev.verification.drifts import drifts_of, rebuilt_streams
from graphrev.verification.feeds import make_feeds
from graphrev.verification.numbers import Tolerance, of_kind, tolerance
from graphrev.verification.races import Race, added, affected, races
from graphrev.verification.reach import check_reach
from graphrev.verification.recording import RecordedRunner, Recording
from graphrev.verification.result import Comparison, Verification
from graphrev.verification.sessions import DeadTensorError, Runner
from graphrev.verification.sides import Pair, Sides

_KINDS = ("output", "gradient", "variable")


def verify(
    before: Graph,
    after: Graph,
    *,
    feeds: Mapping[str, Any] | None = None,
    fetches: Iterable[str] = (),
    targets: Iterable[str] = (),
    variables: Mapping[str, Any] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    seconds: float | None = None,
    contained: bool = False,
    recording: Recording | None = None,
    grappler: bool = True,
) -> Verification:
    """Runs both graphs and compares outputs, gradients and variable updates.

    Args:
        before, after: verified graphs of the same program.
        feeds: by tensor name an array, or a :class:`~graphrev.ir.Shape` to draw values of. What is
            not given is made up from the placeholders' types and shapes.
        fetches: tensors or ops to compare; by default losses, gradients and the training ops.
        targets: the training ops, where the caller knows them.
        variables: values by variable name (from a checkpoint); by default what the initializers
            make, a little noise added so that no gradient vanishes by symmetry.
        rtol, atol: allowed relative and absolute error; by default derived from the rewrite.
        seed: seeds everything that is made up.
        seconds: give up after this time.
        contained: also refuse to run ops that are not known to keep to their session.
        recording: what sessions of ``before`` answered when it was compared with other graphs; it
            is not held to ``seconds``.
        grappler: whether TensorFlow optimizes ``after`` (and ``before``, unless it is recorded).

    Raises:
        InvalidGraphError: a graph breaks a structural invariant.
        VerificationError: a graph cannot be run with what is at hand, in the time there is, or
            without opening files that it names.
        UsageError: a feed or fetch does not exist.
    """
    for graph in (before, after):
        structure.verify(graph, ops.output_count, ops.input_count)
    chosen = choose_fetches(before, after, targets, fetches)
    if not (chosen.outputs or chosen.gradients or chosen.targets):
        raise VerificationError(
            "There is nothing to compare: no loss, gradient or training op was found. Name what to "
            "compare with --fetch NAME."
        )
    until = None if seconds is None else time.monotonic() + seconds
    made = _feeds(before, chosen, feeds or {}, seed)
    for graph, targets in ((before, chosen.targets), (after, chosen.targets_after)):
        check_reach(graph, _fetched(chosen, targets), made, contained=contained)
    before, seeds = drawing_alike(before, after)
    with (
        _session(before, None if seeds else recording, until, grappler) as first,
        Runner(after, "second", until, grappler=grappler) as second,
    ):
        values, notes = _variables(first, second, variables, seed)
        if not (fetches or chosen.gradients or chosen.targets):
            notes = (*notes, "outputs alone were compared: nothing in the graph is trained")
        sides = Sides(before, after, first, second, values, made, seeds)
        return _compared(sides, chosen, (rtol, atol), notes)


def _session(
    graph: Graph, recording: Recording | None, until: float | None, grappler: bool
) -> Runner | RecordedRunner:
    if recording is None:
        return Runner(graph, "first", until, grappler=grappler)
    return RecordedRunner(recording, "first")


def _feeds(
    graph: Graph, chosen: Fetches, given: Mapping[str, Any], seed: int
) -> dict[TensorRef, Any]:
    fed = {tensor_named(name).node: v for name, v in given.items()}
    starts = {ref.node for ref in (*chosen.outputs, *chosen.gradients)} | set(chosen.targets)
    needed = ancestors(graph, starts, frozenset(fed))
    return make_feeds(graph, infer_shapes(graph), needed, given, seed)


def _variables(
    first: Runner | RecordedRunner, second: Runner, given: Mapping[str, Any] | None, seed: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The variables' values; those that only one graph has (masks) start as it starts them."""
    import numpy as np

    old = first.initial_values()
    own = second.initial_values(known=old)
    if given is not None:
        return {**own, **given}, ()
    draw = np.random.default_rng(seed + 1)
    values = {**own, **old}
    for name in sorted(old):
        value = np.asarray(values[name])
        if value.dtype.kind == "f":
            noise = draw.uniform(0, 0.01, value.shape)
            if name in second.variable_names:  # not for masks that only the first graph has
                values[name] = (value + noise).astype(value.dtype)
    return values, ("variables are the initializers' values plus uniform noise in [0, 0.01)",)


def _compared(
    sides: Sides,
    chosen: Fetches,
    given: tuple[float | None, float | None],
    notes: tuple[str, ...],
) -> Verification:
    rebuilt, lost = rebuilt_streams(sides.after), tuple[TensorRef, ...]()
    try:
        pairs, streams = sides.run(chosen, _probes(rebuilt))
    except DeadTensorError:
        chosen, more = sides.without_dead_gradients(chosen)
        chosen, lost = sides.without_lost_gradients(chosen)
        notes = (*notes, *more)
        living = sides.living_probes(_probes(rebuilt))
        rebuilt = [item for item in rebuilt if living.issuperset(_probes([item]))]
        sides.reopen()
        pairs, streams = sides.run(chosen, _probes(rebuilt))
    drifts = drifts_of(sides.after, rebuilt, streams)
    allowed = tolerance(drifts, given)
    comparisons = _of_all_kinds(pairs, allowed)
    racing = races(sides.before, _fetched(chosen, chosen.targets))
    if racing and not all(item.ok for item in comparisons):
        pairs, more = _one_after_the_other(sides, chosen, pairs, racing)
        comparisons, notes = _of_all_kinds(pairs, allowed), (*notes, *more)
    found = races(sides.after, _fetched(chosen, chosen.targets_after))
    more_races = sorted(added(sides.before, sides.after, racing, found))
    comparisons = (*comparisons, *map(_added, more_races), *map(_lost, lost))
    atol = 0.0 if allowed.atol is None else allowed.atol
    return Verification(comparisons, drifts, allowed.rtol, atol, allowed.reason, notes)


def _probes(rebuilt: Iterable[tuple[str, TensorRef, TensorRef]]) -> list[TensorRef]:
    return [ref for item in rebuilt for ref in (item[1], item[2])]


def _fetched(chosen: Fetches, targets: tuple[str, ...]) -> list[str]:
    return [*(ref.node for ref in (*chosen.outputs, *chosen.gradients)), *targets]


def _of_all_kinds(pairs: list[Pair], allowed: Tolerance) -> tuple[Comparison, ...]:
    return tuple(item for kind in _KINDS for item in of_kind(kind, pairs, allowed))


def _added(race: Race) -> Comparison:
    name = f"{race.reader} reads {race.variable}, and nothing orders {race.writer} after or before"
    return Comparison(name, "race", float("inf"), 0.0)


def _lost(ref: TensorRef) -> Comparison:
    name = f"{ref} has no value in the second graph, where it waits for a branch not taken"
    return Comparison(name, "gradient", float("inf"), 0.0)


def _one_after_the_other(
    sides: Sides, chosen: Fetches, pairs: list[Pair], racing: frozenset[Race]
) -> tuple[list[Pair], tuple[str, ...]]:
    """The comparison of a step that races with itself: gradients first, updates afterwards.

    The updates are given the first graph's gradients, so nothing is left that they could race with.
    What races and is updated by no target is left out.
    """
    computed, _ = sides.run(replace(chosen, targets=(), targets_after=()))
    values = {name: a for name, kind, a, _ in computed if kind == "gradient"}
    gradients = {ref: values[str(ref)] for ref in chosen.gradients}
    fed = replace(sides, feeds={**sides.feeds, **gradients})
    updates = [
        tuple(name for name in targets if _is_update(graph[name].op))
        for graph, targets in (
            (sides.before, chosen.targets),
            (sides.after, chosen.targets_after),
        )
    ]
    updated, _ = fed.run(Fetches((), (), *updates))
    written = _written(sides.before, updates[0])
    unclear = affected(sides.before, racing)
    kept = [
        pair
        for pair in pairs
        if pair[1] == "variable" and pair[0] not in written and pair[0] not in unclear
    ]
    race = min(racing)
    note = (
        f"the step races with itself before any rewrite ('{printable(race.writer)}' may write "
        f"'{printable(race.variable)}' before or after '{printable(race.reader)}' reads it), so "
        "gradients were compared first and updates from equal gradients afterwards"
    )
    chosen_updates = [pair for pair in updated if pair[0] in written]
    return [*computed, *chosen_updates, *kept], (note,)


def _is_update(op: str) -> bool:
    return ops.is_optimizer_apply(op) or ops.is_assignment(op) or ops.adds_to_variable(op)


def _written(graph: Graph, updates: Iterable[str]) -> frozenset[str]:
    """The variables that optimizer ops write."""
    found: set[str] = set()
    for name in updates:
        node = graph[name]
        found.update(r.node for r in node.inputs if ops.is_variable(graph[r.node].op))
    return frozenset(found)
