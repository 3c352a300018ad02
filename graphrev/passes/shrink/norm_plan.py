"""A plan to remove channels, with the batch norms that are folded afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphrev.analysis.channels import origin
from graphrev.ir import Graph
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.norms import FoldedNorm, Norms, Values
from graphrev.passes.shrink.plan import Cost, ShrinkPlan, Smaller
from graphrev.passes.shrink.removal import Removal
from graphrev.passes.shrink.stored import StoredWeights
from graphrev.pipeline import Rejection


def with_norms(
    plan: ShrinkPlan, removal: Removal, weights: StoredWeights, named: frozenset[str]
) -> ShrinkPlan:
    """Adds the batch norms that can be folded, and why others cannot.

    Args:
        weights: the values before channels go.
        named: nodes that are fed or fetched by name.
    """
    smaller = {one.name: one for one in plan.smaller}

    def values(name: str) -> Array | None:
        return smaller[name].values if name in smaller else weights(name)

    biased = frozenset(bias.product.node for bias in plan.biases)
    found = tuple(Norms(removal, values, named, biased).find())
    folded = tuple(one for one in found if isinstance(one, FoldedNorm))
    freed = sum(_sizes(removal.channels.graph, folded, values))
    for one in folded:
        old = smaller.get(one.kernel) or Smaller(one.kernel, one.scaled.shape, {}, None)
        smaller[one.kernel] = replace(old, values=one.scaled)
    left = plan.after.parameters - freed + sum(one.bias.size for one in folded)
    rejections = tuple(one for one in found if isinstance(one, Rejection))
    return replace(
        plan,
        rejections=(*plan.rejections, *rejections),
        smaller=tuple(smaller.values()),
        norms=folded,
        after=Cost(left, plan.after.operations),
    )


def _sizes(graph: Graph, folded: tuple[FoldedNorm, ...], values: Values) -> Iterator[int]:
    """The sizes of the parameters that nothing reads once the norms are gone."""
    norms = {one.node for one in folded}
    parameters = {origin(graph, ref.node): None for n in norms for ref in graph[n].inputs[1:5]}
    for name in parameters:
        value = values(name)
        if value is not None and _serves_only(graph, name, norms):
            yield value.size


def _serves_only(graph: Graph, name: str, norms: set[str]) -> bool:
    readers = (*graph.readers.get(name, ()), *graph.control_readers.get(name, ()))
    return all(
        reader in norms or (graph[reader].op == "Identity" and _serves_only(graph, reader, norms))
        for reader in readers
    )
