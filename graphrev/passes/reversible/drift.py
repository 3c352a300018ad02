"""Rounding drift of rebuilt streams, and the anchors that bound it.

``p' = (p + h) - h`` loses up to half a unit in the last place of the larger of ``p + h`` and
``h`` twice, and the error of one half enters the next, so drift grows about linearly with the
number of halves between a saved stream and the one rebuilt. With streams that keep their size the
measured slope on RevNets is two epsilons a half (8e-6 at 32 layers, 3.1e-5 at 128, float32).
Where activations grow along the block the drift is larger by that factor: no static analysis can
see it, which is why ``verify`` measures it per block.
"""

from __future__ import annotations

from graphrev.ir import DType, TensorRef
from graphrev.passes.reversible.halves import Chain

EPSILONS_PER_HALF = 2.0


def estimate(dtype: DType, halves: int) -> float:
    """Estimated relative L2 drift of a stream rebuilt through ``halves`` halves."""
    epsilon = dtype.epsilon
    return 0.0 if epsilon is None else EPSILONS_PER_HALF * epsilon * halves


def longest_segment(dtype: DType, max_drift: float) -> int:
    """The most pairs between two saved states for which the estimate stays below ``max_drift``.

    At least 1: with every pair saved nothing is rebuilt, so nothing drifts.
    """
    per_pair = estimate(dtype, 2)
    return max(1, int(max_drift / per_pair)) if per_pair else 1


def anchored_streams(chain: Chain, every: int | None) -> frozenset[TensorRef]:
    """The streams saved when one pair in ``every`` is, counted back from the chain's end.

    The chain's outputs are there anyway; its inputs are never rebuilt through more than ``every``
    pairs, so they need no anchor of their own unless every pair is saved.
    """
    if every is None:
        return frozenset()
    saved: set[TensorRef] = set()
    for end in range(len(chain.halves) - 2 * every, 0, -2 * every):
        saved.update(chain.halves[end - 1].after)
    if every == 1:
        saved.update(chain.inputs)
    return frozenset(saved)


def worst_drift(dtype: DType, chain: Chain, saved: frozenset[TensorRef]) -> float:
    """The estimate for the stream that is rebuilt through the most halves."""
    run, worst = 0, 0
    for half in reversed(chain.halves):
        run = 0 if half.after <= saved else run
        if half.p in saved:
            continue
        run += 1
        worst = max(worst, run)
    return estimate(dtype, worst)
