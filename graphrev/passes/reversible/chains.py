"""Joins halves into chains: each half starts from the state the one before left behind.

Pairs found one by one overlap: in a chain of pairs every two neighbouring halves look like a pair.
That is no conflict, because only the halves matter; a conflict is two halves for one sum, or two
halves that start from the same state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from graphrev.ir import TensorRef
from graphrev.passes.reversible.halves import Chain, Half, Pair
from graphrev.passes.reversible.surroundings import Surroundings
from graphrev.pipeline import Code, Rejection

Candidate = tuple[tuple[Half, ...], str | None]


def join(
    around: Surroundings, pairs: Sequence[Pair]
) -> tuple[tuple[Chain, ...], tuple[Rejection, ...]]:
    """Chains of at least two halves, in forward order, and a rejection per half left over."""
    halves, misses = _one_per_sum(pairs)
    ordered = sorted(halves, key=lambda half: around.position(half.y.node))
    following: dict[frozenset[TensorRef], Half] = {}
    for half in ordered:
        if half.before in following:
            misses.append(_overlap(half, following[half.before]))
        else:
            following[half.before] = half
    chains = tuple(_walk(following, ordered))
    marks = {half.y: pair.mark for pair in pairs for half in pair.halves if pair.mark}
    misses.extend(_lonely(chain) for chain in chains if len(chain) < 2)
    whole = [chain for chain in chains if len(chain) >= 2]
    return tuple(_named(whole, marks)), tuple(misses)


def _one_per_sum(pairs: Iterable[Pair]) -> tuple[list[Half], list[Rejection]]:
    votes: Counter[Half] = Counter()
    for pair in pairs:
        votes.update(pair.halves)
    best: dict[TensorRef, Half] = {}
    for half, count in votes.items():
        rival = best.get(half.y)
        if rival is None or count > votes[rival]:
            best[half.y] = half
    misses = [_overlap(half, best[half.y]) for half in votes if best[half.y] != half]
    return list(best.values()), misses


def _walk(
    following: dict[frozenset[TensorRef], Half], ordered: Sequence[Half]
) -> Iterable[tuple[Half, ...]]:
    chosen = set(following.values())
    continued = {half.after for half in chosen}
    for half in ordered:
        if half not in chosen or half.before in continued:
            continue
        chain = [half]
        while (successor := following.get(chain[-1].after)) is not None:
            chain.append(successor)
        yield tuple(chain)


def _named(chains: Iterable[tuple[Half, ...]], marks: dict[TensorRef, str]) -> Iterable[Chain]:
    used: Counter[str] = Counter()
    for number, halves in enumerate(chains):
        wanted = next((marks[h.y] for h in halves if h.y in marks), f"block_{number}")
        used[wanted] += 1
        name = wanted if used[wanted] == 1 else f"{wanted}_{used[wanted] - 1}"
        yield Chain(name, halves)


def _overlap(half: Half, rival: Half) -> Rejection:
    reason = (
        f"'{half.y.node}' read as {half.p} + h({half.q}) overlaps with '{rival.y.node}' read as "
        f"{rival.p} + h({rival.q})."
    )
    return Rejection(Code.OVERLAP, reason, (half.y.node, rival.y.node))


def _lonely(chain: Sequence[Half]) -> Rejection:
    half = chain[0]
    reason = f"'{half.y.node}' has no second half: nothing adds to '{half.q}' afterwards."
    return Rejection(Code.OVERLAP, reason, (half.y.node, half.q.node))
