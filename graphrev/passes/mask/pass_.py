"""The mask pass: kernels of an existing graph train as ``mask * kernel``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from graphrev.editor import GraphEditor
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph
from graphrev.passes.mask.apply import apply_masks
from graphrev.passes.mask.choose import Choice, choose, erk, grouped, targets, unmasked
from graphrev.passes.mask.coupling import Coupled, couple, in_multiples
from graphrev.passes.mask.criteria import MAGNITUDE, Criterion, Random
from graphrev.passes.mask.gradients import Gradients
from graphrev.passes.mask.joins import drop_torn
from graphrev.passes.mask.mirrors import mirrored, refuse_mirrors
from graphrev.passes.mask.plan import GradientMask, KernelPlan, MaskPlan, ReadPlan, Thaw
from graphrev.passes.mask.regrowth import NO_REGROWTH, Regrowth
from graphrev.passes.mask.rewiring import rewires
from graphrev.passes.mask.saving import find_initializers, find_savers
from graphrev.passes.mask.schedule import Schedule, Shape
from graphrev.passes.mask.signal_search import find_signals
from graphrev.passes.mask.structure import Structure, check_structure, structures
from graphrev.passes.mask.target_files import expanded
from graphrev.passes.mask.trace import Kernel, find_kernels
from graphrev.passes.mask.training import check_tensor, plan_update
from graphrev.passes.mask.unfreeze import find_constants, thaw
from graphrev.pipeline import Code, Pass, Rejection


@dataclass(frozen=True)
class Mask(Pass[MaskPlan]):
    """Multiplies convolution and matrix-product kernels by masks that follow a schedule.

    Works on graphs with and without gradients. The mask of a kernel keeps the weights that the
    criterion puts highest (the largest, by default): exactly ``round(size * sparsity)`` are zero,
    ties dropped in index order.

    Attributes:
        sparsity: the share of each kernel's weights to drop, in [0, 1).
        schedule: how the sparsity rises from ``initial`` to its target between begin and end.
        begin: the first step with an update.
        end: the last one; masks stay as they are afterwards. Never, by default.
        frequency: steps between updates.
        power: the exponent of the polynomial schedule.
        initial: the share of the target at ``begin``.
        include: regular expressions; only variables matching one are masked.
        exclude: regular expressions; variables matching one are left alone.
        min_size: the fewest weights a masked kernel has.
        first: whether the first kernel is masked, where there are three or more.
        last: the same for the last one.
        allocation: ``uniform`` asks the same of every kernel; ``erk`` more of larger ones;
            ``global`` ranks the weights of all kernels together, ``groups`` those of each group
            that ``prunable`` names.
        structure: what is dropped as one: ``weights``, ``channels`` (of the input), ``filters``,
            blocks ``HxW`` on the last two axes, ``N:M`` (N kept of M input channels; the sparsity
            is then 1 - N / M).
        granularity: ``channel`` drops whole filters, those that belong to the same channels
            (coupled by sums, concatenations, depthwise kernels) together, by their summed worth;
            what is dropped can be removed with the ``shrink`` pass.
        multiple: with ``granularity=channel``, the channels that stay are a multiple of this: some
            more are dropped for it, but never all. 8 or 16 suits vector units.
        allow_empty: whether a kernel may lose all its weights.
        targets: ``regex:sparsity`` for kernels with a target of their own, or ``FILE.json`` with
            a list of such, as ``graphrev sensitivity`` writes it.
        train_op: the node that runs a training step, where that is not plain.
        global_step: the variable that counts the steps, where that is not plain.
        table: for ``schedule=table``: the share of the target at each update, from ``begin``.
        tensor: for ``schedule=tensor``: a scalar of the graph that holds the sparsity; targets
            are scaled with it.
        unfreeze: whether kernels that are constants (a frozen graph) become variables first.
        criterion: what a weight is worth: ``magnitude``, ``taylor``, ``movement``, ``random``, or
            ``bn-scale`` for filters and channels; as an object, or as text with options,
            ``taylor(decay=0.9)``.
        regrowth: which dropped weights come back: ``none``, ``set`` (random ones), ``rigl``
            (those with the largest gradients).
    """

    name: ClassVar[str] = "mask"

    sparsity: float = 0.5
    schedule: Shape = "constant"
    begin: int = 0
    end: int | None = None
    frequency: int = 100
    power: float = 3.0
    initial: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 1
    first: Literal["dense", "masked"] = "dense"
    last: Literal["dense", "masked"] = "dense"
    allocation: Literal["uniform", "erk", "global", "groups"] = "uniform"
    structure: str = "weights"
    granularity: Literal["weight", "channel"] = "weight"
    multiple: int = 1
    allow_empty: bool = False
    targets: tuple[str, ...] = ()
    train_op: str | None = None
    global_step: str | None = None
    unfreeze: bool = False
    table: tuple[str, ...] = ()
    tensor: str | None = None
    criterion: Criterion | str = MAGNITUDE
    regrowth: Regrowth | str = NO_REGROWTH

    def __post_init__(self) -> None:
        """Refuses options that make no sense.

        Raises:
            UsageError: an option is out of range; the message says which.
        """
        if not 0.0 <= self.sparsity < 1.0:
            raise UsageError("mask: sparsity must be at least 0 and below 1.")
        if self.min_size < 1:
            raise UsageError("mask: min_size must be at least 1.")
        if self.targets and self.allocation != "uniform":
            raise UsageError(f"mask: targets and allocation={self.allocation} exclude each other.")
        check_structure(self.structure)
        if self.structure != "weights" and self.allocation in ("global", "groups"):
            raise UsageError(f"mask: allocation={self.allocation} ranks single weights only.")
        if self.tensor and not self.sparsity:
            raise UsageError("mask: schedule=tensor needs the sparsity that targets refer to.")
        _ = self._schedule
        self._check_policies()
        self._check_granularity()

    @property
    def _criterion(self) -> Criterion:
        chosen = self.criterion
        return Criterion.parse(chosen) if isinstance(chosen, str) else chosen

    @property
    def _regrowth(self) -> Regrowth:
        chosen = self.regrowth
        return Regrowth.parse(chosen) if isinstance(chosen, str) else chosen

    def _check_policies(self) -> None:
        criterion, regrowth = self._criterion, self._regrowth
        if criterion.by_filter and self.structure != "filters" and self.granularity != "channel":
            raise UsageError(
                f"mask: criterion={criterion.name} ranks filters: say granularity=channel or "
                "structure=filters."
            )
        if not regrowth.grows:
            return
        if self.structure != "weights" or self.allocation in ("global", "groups"):
            raise UsageError(
                f"mask: regrowth={regrowth.name} exchanges single weights within each kernel: "
                "leave structure and allocation=global or groups out."
            )
        if regrowth.anneals and self._schedule.end is None:
            raise UsageError(
                f"mask: regrowth={regrowth.name} needs end=STEP, where its share has fallen to 0; "
                f"or say regrowth={regrowth.name}(anneal=constant)."
            )

    def _check_granularity(self) -> None:
        if self.multiple < 1:
            raise UsageError("mask: multiple must be at least 1.")
        if self.granularity == "weight":
            if self.multiple > 1:
                raise UsageError(
                    f"mask: multiple={self.multiple} counts channels: say granularity=channel."
                )
            return
        others = {
            f"structure={self.structure}": self.structure != "weights",
            f"allocation={self.allocation}": self.allocation in ("global", "groups"),
            f"regrowth={self._regrowth.name}": self._regrowth.grows,
        }
        wrong = next((spelled for spelled, is_so in others.items() if is_so), None)
        if wrong is not None:
            raise UsageError(f"mask: granularity=channel drops whole channels; leave {wrong} out.")

    @property
    def _schedule(self) -> Schedule:
        table = tuple(map(_share, self.table))
        end = self.end
        if end is None and table:
            end = self.begin + (len(table) - 1) * self.frequency
        return Schedule(
            self.schedule,
            self.begin,
            end,
            self.frequency,
            self.power,
            self.initial,
            table=table,
            tensor=self.tensor or "",
            base=self.sparsity if self.tensor else 1.0,
        )

    @classmethod
    def following(
        cls,
        sparsity_at: Callable[[int], float],
        *,
        end: int,
        begin: int = 0,
        frequency: int = 100,
        **options: Any,
    ) -> Mask:
        """A pass whose sparsity follows a function of the step, tabulated for every update.

        Args:
            sparsity_at: the sparsity at a step, in [0, 1), largest at ``end``.
            options: all others but ``sparsity``, ``schedule`` and ``table``.

        Raises:
            UsageError: an option is out of range.
        """
        target = sparsity_at(end)
        if not 0.0 < target < 1.0:
            raise UsageError(f"mask: the sparsity at the end is {target}, not between 0 and 1.")
        count = -(-(end - begin) // frequency)
        steps = [min(begin + place * frequency, end) for place in range(count + 1)]
        table = tuple(repr(sparsity_at(step) / target) for step in steps)
        return cls(
            target,
            "table",
            begin,
            begin + count * frequency,
            frequency,
            table=table,
            **options,
        )

    def analyze(self, graph: Graph) -> MaskPlan:
        """Finds the kernels, plans each, and says why every other one is left alone.

        Raises:
            UsageError: there is no kernel, a pattern matches none or a kernel twice, or the
                training op or the global step cannot be found.
        """
        thawed = find_constants(graph) if self.unfreeze else Thaw()
        if thawed.constants:
            plan = self._planned(_after(graph, thawed), "global_step" * thawed.adds_step)
            return replace(plan, thaw=thawed)
        return self._planned(graph)

    def _planned(self, graph: Graph, step: str = "") -> MaskPlan:
        kernels = find_kernels(graph)
        strangers = unmasked(graph, kernels)
        if not kernels and not strangers:
            raise UsageError(
                "mask: the graph has no kernel: no convolution or matrix product reads a variable."
            )
        choice = Choice(
            self.include,
            self.exclude,
            self.min_size,
            self.first == "dense",
            self.last == "dense",
        )
        chosen, rejections = choose(graph, kernels, choice)
        matched, unclear = _with_gradients(graph, kernels, chosen)
        torn = drop_torn(graph, matched)
        kept = {k.name: (k, g) for k, g in matched if k.name not in {r.nodes[0] for r in torn}}
        signals, unsuited = find_signals(
            graph, kept, self._criterion, self._regrowth, self.train_op
        )
        kept = {name: pair for name, pair in kept.items() if name in signals}
        coupled: dict[str, Coupled] = {}
        loose: tuple[Rejection, ...] = ()
        if self.granularity == "channel":
            coupled, loose = couple(graph, [kernel for kernel, _ in kept.values()])
            kept = {name: pair for name, pair in kept.items() if name in coupled}
        whole = [kernel for kernel, _ in kept.values()]
        wanted = in_multiples(self._targets(whole), coupled, self.multiple)
        shapes = {name: one.structure for name, one in coupled.items()} or structures(
            graph, whole, self.structure
        )
        self._check_mirrors(graph, kept)
        groups = grouped(graph, whole, self.allocation)
        plans = tuple(
            replace(
                _plan(kernel, wanted[kernel.name], masks, shapes[kernel.name], self.allow_empty),
                criterion=self._criterion,
                regrowth=self._regrowth,
                signals=signals[kernel.name],
                **({"group": groups[kernel.name], "zeros": None} if kernel.name in groups else {}),
            )
            for kernel, masks in kept.values()
        )
        plans = tuple(_coupled(plan, coupled.get(plan.variable)) for plan in plans)
        if self.targets:
            _check_reachable(plans)
        left = (*strangers, *rejections, *unclear, *torn, *unsuited, *loose)
        if not plans:
            return MaskPlan(left)
        variables = [k.variable for k in plans]
        counter = self.global_step or step or None
        update = plan_update(graph, variables, self._schedule, self.train_op, counter)
        if self.tensor:
            update = replace(update, source=check_tensor(graph, update))
            plans = tuple(replace(plan, zeros=None) for plan in plans)
        names = frozenset(kept)
        return MaskPlan(
            left, plans, update, find_savers(graph, names), find_initializers(graph, names)
        )

    def _check_mirrors(self, graph: Graph, names: Iterable[str]) -> None:
        """Refuses what would choose other weights of a kernel than of its copy elsewhere.

        A running criterion follows the gradients of its own device, before they are summed.
        """
        criterion, regrowth = self._criterion, self._regrowth
        refuse_mirrors(
            mirrored(graph, names),
            {
                f"allocation={self.allocation}": self.allocation in ("global", "groups"),
                f"criterion={criterion.name}": criterion.running or isinstance(criterion, Random),
                f"regrowth={regrowth.name}": regrowth.grows,
            },
        )

    def apply(self, plan: MaskPlan, editor: GraphEditor) -> None:
        """Adds the masks and their update, and re-points what multiplies by the kernels."""
        if plan.thaw.constants:
            thaw(editor, plan.thaw)
        apply_masks(plan, editor)

    def _targets(self, kernels: Sequence[Kernel]) -> Mapping[str, float]:
        if self.allocation == "erk":
            return erk(kernels, self.sparsity)
        return targets(kernels, self.sparsity, tuple(expanded(self.targets)))


def _share(spelled: str) -> float:
    try:
        return float(spelled)
    except ValueError:
        raise UsageError(f"mask: '{printable(spelled)}' in table is no number.") from None


def _after(graph: Graph, plan: Thaw) -> Graph:
    """The graph with the constants of ``plan`` unfrozen."""
    editor = GraphEditor(graph)
    thaw(editor, plan)
    return editor.finish()[0]


_Matched = tuple[Kernel, tuple[GradientMask, ...]]


def _with_gradients(
    graph: Graph, kernels: Sequence[Kernel], chosen: Sequence[Kernel]
) -> tuple[list[_Matched], list[Rejection]]:
    """The kernels whose gradients are known, and rejections for the others."""
    gradients = Gradients(graph, kernels)
    matched: list[_Matched] = []
    unclear: list[Rejection] = []
    for kernel in chosen:
        found = gradients.of(kernel)
        if isinstance(found, str):
            reason = f"Kernel '{kernel.name}': {found}"
            unclear.append(Rejection(Code.GRADIENT_UNCLEAR, reason, (kernel.name,)))
        else:
            matched.append((kernel, found))
    return matched, unclear


def _check_reachable(kernels: Sequence[KernelPlan]) -> None:
    """Refuses targets that would leave a kernel empty."""
    for kernel in kernels:
        units = kernel.structure.units
        if round(units * kernel.sparsity) >= units and not kernel.allow_empty:
            raise UsageError(
                f"mask: the target {kernel.sparsity} of kernel '{printable(kernel.variable)}' "
                f"cannot be reached: of {units} to choose from, one is kept. Lower the target, or "
                "say allow_empty=true."
            )


def _plan(
    kernel: Kernel,
    sparsity: float,
    gradients: tuple[GradientMask, ...],
    structure: Structure,
    allow_empty: bool,
) -> KernelPlan:
    dims = tuple(dim or 0 for dim in kernel.dims or ())
    if structure.kind == "n:m":
        sparsity = 1.0 - structure.keep / structure.of
    scope, part = _place(kernel.name)
    return KernelPlan(
        variable=kernel.name,
        dtype=kernel.dtype,
        dims=dims,
        is_resource=kernel.is_resource,
        device=kernel.node.device,
        sparsity=sparsity,
        zeros=structure.zeros(sparsity, allow_empty=allow_empty),
        reads=tuple(ReadPlan(r.tensor, r.path, rewires(r)) for r in kernel.reads),
        gradients=gradients,
        scope=scope,
        part=part,
        structure=structure,
        allow_empty=allow_empty,
    )


def _coupled(plan: KernelPlan, coupled: Coupled | None) -> KernelPlan:
    """The plan of a kernel whose filters are dropped with those of others."""
    if coupled is None:
        return plan
    coupling, structure = coupled.coupling, coupled.structure
    most = coupling.channels - (not plan.allow_empty)
    dropped = min(round(coupling.channels * plan.sparsity), most)
    zeros = dropped * math.prod(structure.block) if coupling.is_even else None
    return replace(plan, coupling=coupling, zeros=zeros)


def _place(name: str) -> tuple[str, str]:
    """The scope beside the kernel, and the name's ``/part_k``, which its mask gets as well."""
    head, _, last = name.rpartition("/")
    part = ""
    if head and last.startswith("part_") and last[5:].isdigit():
        part = f"/{last}"
        head = head.rpartition("/")[0]
    return (f"{head}/" if head else ""), part
