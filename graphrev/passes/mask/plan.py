"""What the mask pass will do, in full: ``apply`` only carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphrev.errors import printable
from graphrev.ir import DType, TensorRef
from graphrev.passes.mask.criteria import MAGNITUDE, Criterion
from graphrev.passes.mask.regrowth import NO_REGROWTH, Regrowth
from graphrev.passes.mask.rewiring import Rewire
from graphrev.passes.mask.schedule import Schedule
from graphrev.passes.mask.signals import NO_SIGNALS, Signals
from graphrev.passes.mask.structure import WEIGHTS, Coupling, Structure
from graphrev.pipeline import Plan


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """One read of a kernel and what is to read the masked value instead.

    Attributes:
        tensor: the read.
        path: inside a loop or branch, the nodes that lead the handle there.
    """

    tensor: TensorRef
    path: tuple[str, ...]
    rewires: tuple[Rewire, ...]


@dataclass(frozen=True, slots=True)
class GradientMask:
    """A gradient of a masked kernel, to be multiplied by the mask seen through views.

    Attributes:
        tensor: the gradient.
        views: the outputs of the views between the kernel's read and the product.
        path: for a read inside a branch, the nodes that lead the handle there.
        read: the read.
    """

    tensor: TensorRef
    views: tuple[TensorRef, ...] = ()
    path: tuple[str, ...] = ()
    read: TensorRef | None = None


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """How one variable is masked.

    Attributes:
        variable: the variable's name.
        dtype: the type of kernel and mask.
        dims: the static shape.
        is_resource: whether it is a resource variable; the mask is of the same kind.
        device: the variable's device.
        sparsity: the share of weights to drop when the schedule has ended, in [0, 1).
        zeros: the number of weights that is: ``round(size * sparsity)``, less than ``size``;
            ``None`` where it depends on the weights (ranked in a group, blocks cut at the border).
        reads: its reads.
        gradients: the gradients that are masked.
        scope: the name scope the mask's nodes go to, with a slash; empty at the top.
        part: ``/part_k`` for a partition of a larger variable.
        structure: what is dropped as one.
        group: the kernels it is ranked with; empty where it is ranked by itself.
        allow_empty: whether all of it may be dropped.
        criterion: what its weights are worth.
        regrowth: which dropped ones come back.
        signals: what those two read beside the kernel.
        coupling: the channels its filters are of, where channels are dropped as a whole.
    """

    variable: str
    dtype: DType
    dims: tuple[int, ...]
    is_resource: bool
    device: str
    sparsity: float
    zeros: int | None
    reads: tuple[ReadPlan, ...]
    gradients: tuple[GradientMask, ...]
    scope: str
    part: str = ""
    structure: Structure = WEIGHTS
    group: str = ""
    allow_empty: bool = False
    criterion: Criterion = MAGNITUDE
    regrowth: Regrowth = NO_REGROWTH
    signals: Signals = NO_SIGNALS
    coupling: Coupling | None = None

    @property
    def together(self) -> str:
        """What names the kernels it is ranked with: itself, a group, or those it is coupled to."""
        if self.coupling is not None:
            return self.coupling.group
        return self.group or f"/{self.variable}"

    @property
    def size(self) -> int:
        """The number of weights."""
        count = 1
        for dim in self.dims:
            count *= dim
        return count

    def to_json(self) -> dict[str, Any]:
        """The kernel as plain data."""
        return {
            "variable": self.variable,
            "dtype": self.dtype.name.lower(),
            "shape": list(self.dims),
            "weights": self.size,
            "target_sparsity": self.sparsity,
            "target_zeros": self.zeros,
            "structure": self.structure.describe() or "weights",
            "group": self.group or (self.coupling.group if self.coupling else None),
            "criterion": str(self.criterion),
            "regrowth": str(self.regrowth),
            "reads": [str(read.tensor) for read in self.reads],
            "masked_gradients": [str(gradient.tensor) for gradient in self.gradients],
        }


@dataclass(frozen=True, slots=True)
class UpdatePlan:
    """When and where the masks are updated.

    Attributes:
        schedule: the sparsity over the steps.
        step: the global step's variable.
        after: nodes the update waits for: the optimizer's step.
        train_op: the node that is to wait for the update; ``None`` where nothing trains.
        counts_itself: whether ``train_op`` or what follows it advances the step, so that the step
            of this update is one more than the variable holds.
        source: the tensor that tells the sparsity, and its type; ``None`` for other schedules.
    """

    schedule: Schedule
    step: str
    step_dtype: DType
    step_is_resource: bool
    after: tuple[str, ...]
    train_op: str | None
    counts_itself: bool
    source: tuple[TensorRef, DType] | None = None


@dataclass(frozen=True, slots=True)
class SaverPlan:
    """A save or a restore op that holds a masked kernel and is to hold its mask too.

    Attributes:
        save, restore: the op; one of them.
        restore_group: what waits for all that is restored.
        kernels: the masked kernels it holds.
        slices: what part of a larger tensor a kernel is, as the saver spells it.
        holds_step: whether it is the first one of its saver, which holds what is held once.
    """

    save: str | None
    restore: str | None
    restore_group: str | None
    kernels: tuple[str, ...]
    slices: tuple[tuple[str, bytes], ...] = ()
    holds_step: bool = False


@dataclass(frozen=True, slots=True)
class Thaw:
    """Constants that become variables before anything is masked.

    Attributes:
        constants: their names.
        adds_step: whether a global step is added.
    """

    constants: tuple[str, ...] = ()
    adds_step: bool = False


@dataclass(frozen=True)
class MaskPlan(Plan):
    """Kernels to mask, and why each of the others is left alone."""

    kernels: tuple[KernelPlan, ...] = ()
    update: UpdatePlan | None = None
    savers: tuple[SaverPlan, ...] = ()
    initializers: tuple[tuple[str, str], ...] = ()
    thaw: Thaw = Thaw()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is masked and nothing unfrozen."""
        return not self.kernels and not self.thaw.constants

    def summary(self) -> str:
        """One line for people."""
        weights = sum(kernel.size for kernel in self.kernels)
        zeros = target_zeros(self.kernels)
        share = f" ({zeros / weights:.1%} to be zero)" if weights else ""
        thawed = len(self.thaw.constants)
        unfrozen = f"{thawed} constants unfrozen, " if thawed else ""
        return (
            f"{unfrozen}{len(self.kernels)} kernels of {weights} weights masked{share}, "
            f"{len(self.rejections)} left alone"
        )

    def describe(self) -> tuple[str, ...]:
        """One line per kernel."""
        return tuple(_line(kernel) for kernel in self.kernels)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        update = self.update
        return {
            "kernels": [kernel.to_json() for kernel in self.kernels],
            "weights": sum(kernel.size for kernel in self.kernels),
            "target_zeros": target_zeros(self.kernels),
            "update": None
            if update is None
            else {
                **update.schedule.to_json(),
                "global_step": update.step,
                "train_op": update.train_op,
            },
            "unfrozen": list(self.thaw.constants),
            "savers": [{"save": s.save, "restore": s.restore} for s in self.savers],
        }


def _line(kernel: KernelPlan) -> str:
    shape = "x".join(map(str, kernel.dims))
    zeros = f"about {kernel.size * kernel.sparsity:.0f}" if kernel.zeros is None else kernel.zeros
    group = kernel.coupling.group if kernel.coupling else kernel.group
    notes = [kernel.structure.describe(), f"ranked in '{group}'" if group else ""]
    more = "".join(f" ({printable(note)})" for note in notes if note)
    return (
        f"{printable(kernel.variable)} [{shape}]: {zeros} of {kernel.size} weights to be "
        f"zero{more}, {len(kernel.gradients)} gradients masked"
    )


def target_zeros(kernels: Sequence[KernelPlan]) -> int:
    """The weights of all kernels to be zero; estimated where blocks are cut at the border."""
    groups: dict[str, list[KernelPlan]] = {}
    alone = 0
    for kernel in kernels:
        if kernel.group:
            groups.setdefault(kernel.group, []).append(kernel)
        else:
            zeros = kernel.zeros
            alone += round(kernel.size * kernel.sparsity) if zeros is None else zeros
    return alone + sum(map(group_zeros, groups.values()))


def group_zeros(kernels: Sequence[KernelPlan]) -> int:
    """The weights of kernels that are ranked together to be zero."""
    most = sum(kernel.size - (not kernel.allow_empty) for kernel in kernels)
    return min(round(sum(kernel.size * kernel.sparsity for kernel in kernels)), most)
