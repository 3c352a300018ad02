"""The shrink pass: channels that are all zero are taken out of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphrev.analysis.channels import Channels, find_channels, origin
from graphrev.analysis.ops import is_variable
from graphrev.analysis.saved_names import saved_names
from graphrev.analysis.shape_rules import kept_outputs
from graphrev.analysis.shapes import infer_shapes
from graphrev.editor import GraphEditor
from graphrev.errors import UsageError, printable
from graphrev.io.checkpoints import read_checkpoint
from graphrev.ir import Graph, TensorRef
from graphrev.ir.marks import role_of
from graphrev.passes.shrink.apply import apply_plan
from graphrev.passes.shrink.arithmetic import Array
from graphrev.passes.shrink.costs import cost_after, cost_before
from graphrev.passes.shrink.folding import Addition, Bias, find_folds
from graphrev.passes.shrink.near_misses import find_near_misses, removed_channels
from graphrev.passes.shrink.norm_plan import with_norms
from graphrev.passes.shrink.plan import Cost, Resplit, ShrinkPlan, Smaller
from graphrev.passes.shrink.removal import Removal, find_removal
from graphrev.passes.shrink.stored import StoredWeights
from graphrev.passes.shrink.values import find_constants
from graphrev.pipeline import Pass


@dataclass(frozen=True)
class Shrink(Pass[ShrinkPlan]):
    """Removes the channels that are all zero, and with them time, memory and bytes on disk.

    A filter of zeros is removed with its share of the bias, the batch norm and whatever works
    channel by channel, and with the weights of later layers that multiply it; so is a channel
    that later layers multiply by zeros only. Channels that sums couple go together or not at all.
    What a removed channel holds (a batch norm makes a constant of zeros) is folded into what
    follows, so that outputs stay the same within rounding.

    Attributes:
        multiple: layers keep a number of channels that is a multiple of this, where they had so
            many; 8 or 16 suits vector units.
        checkpoint: for a graph with variables, the checkpoint that holds their values. The smaller
            one is written beside the graph. A SavedModel's own is found.
        fed: tensors ("name:0") that are fed by name; they keep their channels.
        fetched: tensors that are fetched by name; they keep theirs. Nodes that nothing reads are
            results, and do so always.
        fold_norms: batch norms of constants go into the kernel and a bias of the convolution they
            follow, so that TensorFlow runs a layer as one op. Outputs are the same within rounding.
    """

    name: ClassVar[str] = "shrink"

    multiple: int = 1
    checkpoint: str | None = None
    fed: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    fold_norms: bool = False

    def __post_init__(self) -> None:
        """Refuses options that make no sense.

        Raises:
            UsageError: ``multiple`` is not positive.
        """
        if self.multiple < 1:
            raise UsageError("shrink: multiple must be at least 1.")

    def analyze(self, graph: Graph) -> ShrinkPlan:
        """Finds the channels that can go, and says why others that are zero stay.

        Raises:
            UsageError: the graph has variables and no checkpoint was given, it cannot be read or
                is of another graph, or a name in ``fed`` or ``fetched`` is none of the graph's.
        """
        self._check_names(graph)
        channels = find_channels(graph, infer_shapes(graph), self.fed, self.fetched)
        saved = self._saved(graph, channels)
        weights = StoredWeights(graph, saved)
        constants = find_constants(channels, weights)
        removal = find_removal(channels, constants, self.multiple)
        plan = self._removed(removal, weights, saved)
        if not self.fold_norms:
            return plan
        named = frozenset(name.partition(":")[0] for name in (*self.fed, *self.fetched))
        return with_norms(plan, removal, weights, named)

    def apply(self, plan: ShrinkPlan, editor: GraphEditor) -> None:
        """Cuts weights and the shapes that follow from them to size."""
        apply_plan(plan, editor)

    def _removed(
        self, removal: Removal, weights: StoredWeights, saved: Mapping[str, Array] | None
    ) -> ShrinkPlan:
        """The plan without anything else than the channels that go."""
        channels, graph = removal.channels, removal.channels.graph
        rejections = tuple(find_near_misses(removal))
        before = cost_before(channels)
        if not removal.gone.any():
            return ShrinkPlan(rejections, before=before, after=before, saved=saved)
        folds = tuple(find_folds(removal))
        biases = tuple(_cut(removal, fold) for fold in folds if isinstance(fold, Bias))
        left = cost_after(removal)
        additions = [fold for fold in folds if isinstance(fold, Addition)]
        smaller = _smaller(removal, weights, additions)
        changed = {
            one.name: one.values
            for one in smaller
            if one.values is not None and is_variable(graph[one.name].op)
        }
        return ShrinkPlan(
            rejections,
            smaller=smaller,
            kernels=_kernels(channels, smaller),
            targets=tuple(
                (t, _left(removal, TensorRef(t.node), t.axis)) for t in _targets(removal)
            ),
            splits=tuple(_resplits(removal)),
            initials=tuple(i for i in channels.initials if _loses(removal, TensorRef(i.variable))),
            biases=biases,
            resized=tuple(dict.fromkeys(r.node for r in channels.axes if _loses(removal, r))),
            removed=removed_channels(removal),
            carriers=removal.carrying,
            before=before,
            after=Cost(left.parameters + sum(bias.values.size for bias in biases), left.operations),
            saved=None if saved is None else weights.after(changed),
        )

    def _check_names(self, graph: Graph) -> None:
        for name in (*self.fed, *self.fetched):
            if name.partition(":")[0] not in graph:
                raise UsageError(f"shrink: there is no tensor '{printable(name)}' in the graph.")

    def _saved(self, graph: Graph, channels: Channels) -> Mapping[str, Array] | None:
        """The values of the graph's variables by the names they are saved under."""
        variables = [name for name in channels.parameters if is_variable(graph[name].op)]
        if not variables:
            return None
        if self.checkpoint is None:
            raise UsageError(
                f"shrink: the weights are variables ('{printable(variables[0])}' and others), so "
                "their values are in a checkpoint. Name it with shrink{checkpoint=PREFIX}, or "
                "freeze the graph."
            )
        values, names = read_checkpoint(self.checkpoint), saved_names(graph)
        stored = StoredWeights(graph, values)
        for name in variables:
            _check_variable(graph, name, stored, self.checkpoint)
        known = {names.get(n, n) for n, node in graph.nodes.items() if is_variable(node.op)}
        return {name: value for name, value in values.items() if name in known}


def _check_variable(graph: Graph, name: str, stored: StoredWeights, checkpoint: str) -> None:
    shape: Any = graph[name].attr("shape")
    value = stored.variable(name)
    if value is None or value.shape != tuple(shape.dims):
        said = "is not in it" if value is None else f"has the shape {list(value.shape)}"
        raise UsageError(
            f"shrink: the checkpoint '{printable(checkpoint)}' is of another graph: "
            f"'{printable(stored.key(name))}' {list(shape.dims)} {said}."
        )


def _smaller(
    removal: Removal, weights: StoredWeights, additions: list[Addition]
) -> tuple[Smaller, ...]:
    by_name: dict[str, list[Addition]] = {}
    for addition in additions:
        by_name.setdefault(addition.parameter, []).append(addition)
    found: list[Smaller] = []
    for name in removal.channels.parameters:
        ref = TensorRef(name)
        if not _loses(removal, ref) and name not in by_name:
            continue
        values = weights(name)
        assert values is not None
        before, kept = values.shape, _kept(removal, ref)
        for addition in by_name.get(name, ()):
            values = (values.astype(np.float64) + addition.values).astype(values.dtype)
        for axis, places in kept.items():
            values = values.take(places, axis)
        found.append(Smaller(name, before, kept, values))
    return tuple(found)


def _kept(removal: Removal, ref: TensorRef) -> dict[int, tuple[int, ...]]:
    kept: dict[int, tuple[int, ...]] = {}
    for axis in removal.channels.axes.get(ref, {}):
        gone = removal.places(ref, axis)
        if gone is not None and gone.any():
            kept[axis] = tuple(int(place) for place in np.flatnonzero(~gone))
    return kept


def _loses(removal: Removal, ref: TensorRef) -> bool:
    return bool(_kept(removal, ref))


def _left(removal: Removal, ref: TensorRef, axis: int) -> int:
    gone = removal.places(ref, axis)
    assert gone is not None
    return int((~gone).sum())


def _targets(removal: Removal) -> list[Any]:
    found = removal.channels.targets
    return [t for t in found if t.axis in _kept(removal, TensorRef(t.node))]


def _resplits(removal: Removal) -> list[Resplit]:
    """Splits along channels, where parts lose some."""
    channels, found = removal.channels, list[Resplit]()
    for name, node in channels.graph.nodes.items():
        if node.op not in ("Split", "SplitV"):
            continue
        at = channels.shapes.values.get(node.inputs[2 if node.op == "SplitV" else 0])
        refs = [TensorRef(name, index) for index in range(kept_outputs(node))]
        data = node.inputs[0 if node.op == "SplitV" else 1]
        dims = channels.shapes.dims(data)
        if not at or not dims or not isinstance(at[0], int):
            continue
        axis = at[0] % len(dims)
        if axis in _kept(removal, data):
            sizes = [
                _left(removal, r, axis) if axis in channels.axes.get(r, {}) else 1 for r in refs
            ]
            if node.op == "SplitV" or len(set(sizes)) > 1:
                found.append(Resplit(name, tuple(sizes)))
    return found


def _cut(removal: Removal, bias: Bias) -> Bias:
    gone = removal.places(bias.product.kernel, bias.product.out_axis)
    return bias if gone is None else Bias(bias.product, bias.values[~gone])


def _kernels(channels: Channels, smaller: tuple[Smaller, ...]) -> dict[str, int]:
    names = {one.name for one in smaller}
    axes = [(product.kernel.node, product.out_axis) for product in channels.products]
    axes += [(one.kernel.node, 2) for one in channels.depthwise]
    found = {_kernel(channels.graph, node): axis for node, axis in axes}
    return {name: axis for name, axis in found.items() if name in names}


def _kernel(graph: Graph, name: str) -> str:
    """The constant or variable that a kernel is; of ``mask * kernel`` the kernel."""
    name = origin(graph, name)
    while graph[name].op == "Mul":
        factors = [origin(graph, ref.node) for ref in graph[name].inputs]
        name = next((n for n in factors[::-1] if role_of(graph[n]) != "mask"), factors[-1])
    return name
