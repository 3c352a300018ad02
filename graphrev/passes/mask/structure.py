"""What is dropped as one: single weights, blocks, whole channels or filters, N of M.

Blocks live in a view of the kernel as three axes, ``[before, a, b]``: for ``HxW`` blocks these are
the last two axes (input and output channels of a convolution, rows and columns of a matrix); for
whole channels or filters ``a`` is their axis and a block spans the other two. The score of a block
is the mean magnitude of its weights; a block at the border has fewer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from graphrev.analysis.order import index_of
from graphrev.errors import UsageError, printable
from graphrev.ir import Graph, Node
from graphrev.passes.mask.roles import CONVOLUTIONS, JOINS, MATRIX_PRODUCTS
from graphrev.passes.mask.trace import Kernel

Kind = Literal["weights", "blocks", "n:m"]
_BLOCK = re.compile(r"(-1|[1-9][0-9]*)x(-1|[1-9][0-9]*)")
_FEW_OF = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)")
_KEEPS_AXES = frozenset({"Identity", "Cast", "Enter", "Switch", "ExpandDims", *JOINS})
_DEPTHWISE = frozenset({"DepthwiseConv2dNative", "DepthwiseConv2dNativeBackpropInput"})


@dataclass(frozen=True, slots=True)
class Structure:
    """What is dropped as one in a kernel.

    Attributes:
        kind: single weights, blocks of ``view``, or all but ``keep`` in each ``of`` along ``a``.
        view: the kernel as ``[before, a, b]``.
        block: the size of a block along each axis of ``view``.
    """

    kind: Kind = "weights"
    view: tuple[int, int, int] = (1, 1, 1)
    block: tuple[int, int, int] = (1, 1, 1)
    keep: int = 1
    of: int = 1

    @property
    def grid(self) -> tuple[int, int, int]:
        """The number of blocks along each axis."""
        (p, a, b), (x, y, z) = self.view, self.block
        return (-(-p // x), -(-a // y), -(-b // z))

    @property
    def units(self) -> int:
        """How many there are to choose from."""
        return math.prod(self.view if self.kind == "weights" else self.grid)

    @property
    def is_even(self) -> bool:
        """Whether every block has as many weights as the next."""
        return all(size % part == 0 for size, part in zip(self.view, self.block))

    def zeros(self, sparsity: float, *, allow_empty: bool = False) -> int | None:
        """The weights that are dropped at ``sparsity``; ``None`` where it depends on which."""
        if self.kind == "n:m":
            before, along, behind = self.view
            whole, rest = divmod(along, self.of)
            dropped = whole * (self.of - self.keep) + max(rest - self.keep, 0)
            return before * dropped * behind
        units = min(round(self.units * sparsity), self.units - (not allow_empty))
        if self.kind == "weights":
            return units
        return units * math.prod(self.block) if self.is_even else None

    def describe(self) -> str:
        """A phrase for reports; padding is shown."""
        if self.kind == "n:m":
            padding = -self.view[1] % self.of
            shown = f", padded by {padding}" if padding else ""
            return f"{self.keep} of {self.of} kept along {self.view[1]} input channels{shown}"
        if self.kind == "blocks":
            size = "x".join(map(str, self.block))
            return (
                f"{self.units} blocks of {size}{'' if self.is_even else ', padded at the border'}"
            )
        return ""


WEIGHTS = Structure()


@dataclass(frozen=True, slots=True)
class Coupling:
    """A kernel's part of a group of channels that are dropped together.

    Attributes:
        group: the group's name.
        channels: how many channels the group has.
        places: for each filter of the kernel its channel in the group.
    """

    group: str
    channels: int
    places: tuple[int, ...]

    @property
    def is_even(self) -> bool:
        """Whether the kernel has one filter for each channel."""
        return sorted(self.places) == list(range(self.channels))


def check_structure(spelled: str) -> None:
    """Refuses a structure that is none.

    Raises:
        UsageError: it is none of ``weights``, ``channels``, ``filters``, ``HxW`` and ``N:M``.
    """
    few = _FEW_OF.fullmatch(spelled)
    if few and int(few[1]) < int(few[2]):
        return
    if spelled in ("weights", "channels", "filters") or _BLOCK.fullmatch(spelled):
        return
    raise UsageError(
        f"mask: structure '{printable(spelled)}' is none of weights, channels, filters, HxW (4x1; "
        "-1 for a whole axis) and N:M with N < M (2:4)."
    )


def structures(graph: Graph, kernels: Iterable[Kernel], spelled: str) -> dict[str, Structure]:
    """The structure of each kernel, by name.

    Raises:
        UsageError: it does not fit some of them, which are named.
    """
    found: dict[str, Structure] = {}
    unfit: list[str] = []
    for kernel in kernels:
        structure = _structure(graph, kernel, spelled)
        if structure is None:
            unfit.append(f"'{printable(kernel.name)}' {[d or 0 for d in kernel.dims or ()]}")
        else:
            found[kernel.name] = structure
    if unfit:
        more = f" and {len(unfit) - 5} more" if len(unfit) > 5 else ""
        raise UsageError(
            f"mask: structure={spelled} does not fit {', '.join(unfit[:5])}{more}: too few input "
            "channels, or it is not known which axis they are. Leave these out with exclude=…, or "
            "choose another structure."
        )
    return found


def _structure(graph: Graph, kernel: Kernel, spelled: str) -> Structure | None:
    dims = tuple(dim or 0 for dim in kernel.dims or ())
    if spelled == "weights":
        return Structure("weights", (1, 1, math.prod(dims)))
    if block := _BLOCK.fullmatch(spelled):
        *_, rows, columns = (1, 1, *dims)
        view = (math.prod(dims[:-2]), rows, columns)
        high, wide = (int(size) for size in block.groups())
        sizes = (high if high > 0 else view[1], wide if wide > 0 else view[2])
        return Structure("blocks", view, (1, min(sizes[0], view[1]), min(sizes[1], view[2])))
    axes = _channel_axes(graph, kernel, len(dims))
    axis = None if axes is None else axes[1 if spelled == "filters" else 0]
    if axis is None:
        return None
    view = (math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :]))
    if few := _FEW_OF.fullmatch(spelled):
        keep, of = int(few[1]), int(few[2])
        return Structure("n:m", view, (1, of, 1), keep, of) if dims[axis] >= of else None
    return Structure("blocks", view, (view[0], 1, view[2]))


def _channel_axes(graph: Graph, kernel: Kernel, rank: int) -> tuple[int, int | None] | None:
    """The axes of input and output channels, as the first product reads the kernel."""
    index = index_of(graph)
    places = {number: place for place, number in enumerate(index.order)}
    uses = [(places[index.ids[use.node]], use, tensor, read) for use, tensor, read in kernel.uses()]
    _, use, tensor, read = min(uses, key=lambda found: found[0])
    if any(graph[view.node].op not in _KEEPS_AXES for view in read.chain(tensor)):
        return None
    return _axes_of(graph[use.node], use.position, rank)


def _axes_of(node: Node, position: int, rank: int) -> tuple[int, int | None] | None:
    if node.op in _DEPTHWISE:
        return rank - 2, None
    if node.op in CONVOLUTIONS:
        backwards = "BackpropInput" in node.op
        return (rank - 1, rank - 2) if backwards else (rank - 2, rank - 1)
    if node.op in MATRIX_PRODUCTS:
        keys = ("transpose_a", "transpose_b") if node.op == "MatMul" else ("adj_x", "adj_y")
        is_second, flipped = position == 1, bool(node.attrs.get(keys[position], False))
        return (rank - 2, rank - 1) if is_second != flipped else (rank - 1, rank - 2)
    return None
