"""How much the loss suffers when one kernel at a time is pruned, and targets made from that.

Each kernel loses its smallest weights, by magnitude and ties in index order as the mask pass drops
them, while all others stay whole. No graph is rewritten: the pruned values are loaded into the
variable, or fed in the place of a constant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphrev.analysis import ops
from graphrev.analysis.shapes import infer_shapes
from graphrev.errors import UsageError, printable
from graphrev.io.tensors import to_numpy
from graphrev.ir import Graph, TensorRef, TensorValue
from graphrev.passes.mask.trace import find_kernels
from graphrev.passes.mask.unfreeze import find_constants
from graphrev.verification.choices import ancestors, tensor_named
from graphrev.verification.feeds import make_feeds
from graphrev.verification.reach import check_reach
from graphrev.verification.sessions import Runner

LEVELS = tuple(number / 10 for number in range(10))
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class KernelSensitivity:
    """The loss with one kernel pruned.

    Attributes:
        losses: the loss at each level of the scan.
    """

    kernel: str
    shape: tuple[int, ...]
    losses: tuple[float, ...]

    @property
    def weights(self) -> int:
        """The number of weights."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Sensitivity:
    """The loss at each level of sparsity, kernel by kernel.

    Attributes:
        loss: the tensor.
        dense: the loss with every kernel whole.
        levels: the shares of weights that are dropped, in rising order.
    """

    loss: str
    dense: float
    levels: tuple[float, ...]
    kernels: tuple[KernelSensitivity, ...]

    def targets(self, sparsity: float) -> dict[str, float]:
        """A target for each kernel, ``sparsity`` in all: none may raise the loss more than others.

        Between levels the loss is taken to be linear, and never to fall as weights are dropped.

        Raises:
            UsageError: the levels do not reach so far, or a loss is no number.
        """
        if not 0.0 <= sparsity <= self.levels[-1]:
            raise UsageError(
                f"Targets of {sparsity} in all were asked for, and the scan goes up to "
                f"{self.levels[-1]}. Give higher --levels."
            )
        curves = {kernel.kernel: _rising(kernel, self.dense) for kernel in self.kernels}
        sizes = {kernel.kernel: kernel.weights for kernel in self.kernels}
        wanted = sparsity * sum(sizes.values())
        below, above = -1e-9, max(float(curve[-1]) for curve in curves.values()) + 1e-9
        for _ in range(60):
            middle = (below + above) / 2
            reached = sum(self._reached(curves[name], middle) * sizes[name] for name in sizes)
            below, above = (below, middle) if reached >= wanted else (middle, above)
        return self._between(curves, sizes, (below, above), wanted)

    def _between(
        self,
        curves: Mapping[str, Any],
        sizes: Mapping[str, int],
        bounds: tuple[float, float],
        wanted: float,
    ) -> dict[str, float]:
        """Targets of ``wanted`` zeros; where curves are flat they jump between the two bounds."""
        few, many = (
            {name: self._reached(curve, bound) for name, curve in curves.items()}
            for bound in bounds
        )
        low, high = (sum(found[name] * sizes[name] for name in sizes) for found in (few, many))
        part = (wanted - low) / (high - low) if high > low else 1.0
        return {name: few[name] + part * (many[name] - few[name]) for name in sizes}

    def _reached(self, curve: Any, allowed: float) -> float:
        """The largest sparsity at which the loss has risen by no more than ``allowed``."""
        levels = np.asarray(self.levels)
        within = int(np.searchsorted(curve, allowed, side="right"))
        if within == len(curve):
            return float(levels[-1])
        if within == 0:
            return 0.0
        step = (allowed - curve[within - 1]) / (curve[within] - curve[within - 1])
        return float(levels[within - 1] + step * (levels[within] - levels[within - 1]))

    def to_json(self, sparsity: float | None = None) -> dict[str, Any]:
        """The scan as plain data; with ``sparsity`` the targets as the mask pass reads them."""
        found: dict[str, Any] = {
            "loss": self.loss,
            "dense": self.dense,
            "levels": list(self.levels),
            "kernels": [
                {"kernel": k.kernel, "shape": list(k.shape), "losses": list(k.losses)}
                for k in self.kernels
            ],
        }
        if sparsity is not None:
            found["sparsity"] = sparsity
            found["targets"] = spelled(self.targets(sparsity))
        return found


def _rising(kernel: KernelSensitivity, dense: float) -> Any:
    """How much the loss has risen at each level at most so far."""
    if not np.isfinite([dense, *kernel.losses]).all():
        raise UsageError(
            f"The loss of '{printable(kernel.kernel)}' is not finite, so no targets follow from it."
        )
    return np.maximum.accumulate(np.maximum(np.asarray(kernel.losses) - dense, 0.0))


def spelled(targets: Mapping[str, float]) -> list[str]:
    """Targets as ``mask{targets=…}`` takes them: a regular expression and a sparsity each."""
    return [f"^{re.escape(name)}$:{share:.6g}" for name, share in targets.items()]


def scan(
    graph: Graph,
    loss: str,
    *,
    feeds: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Sensitivity:
    """Runs the loss with each kernel pruned to each level.

    Args:
        loss: a floating-point tensor; its mean counts where it is no scalar.
        feeds: by tensor name an array, or a :class:`~graphrev.ir.Shape` to draw values of.
        variables: values by name; by default what the initializers make.
        levels: shares of weights to drop, in [0, 1).
        progress: told how many of how many runs are done.

    Raises:
        UsageError: there is no such tensor or no kernel, or a level is out of range.
        VerificationError: the graph cannot be run.
    """
    steps = tuple(sorted(set(levels)))
    if not steps or not all(0.0 <= level < 1.0 for level in steps):
        raise UsageError("The levels of a scan are at least 0 and below 1.")
    goal = _loss(graph, loss)
    fed_names = frozenset(tensor_named(name).node for name in feeds or {})
    needed = ancestors(graph, {goal.node}, fed_names)
    made = make_feeds(graph, infer_shapes(graph), needed, feeds or {}, seed)
    check_reach(graph, [goal.node], made)
    with Runner(graph, "given") as runner:
        values = {**runner.initial_values(), **(variables or {})}
        runner.load(values)
        kernels = _kernels(graph, needed, values)
        if not kernels:
            raise UsageError(
                f"'{printable(loss)}' depends on no kernel whose values are known. Give the "
                "variables with --checkpoint."
            )
        return _scanned(_Scan(runner, goal, made), loss, kernels, steps, progress)


@dataclass(frozen=True, eq=False)
class _Scan:
    runner: Runner
    goal: TensorRef
    feeds: Mapping[TensorRef, Any]

    def loss(self, more: Mapping[TensorRef, Any] | None = None) -> float:
        (value,) = self.runner.run([self.goal], (), {**self.feeds, **(more or {})})
        return float(np.mean(np.asarray(value, np.float64)))

    def pruned(self, kernel: str, value: Any, *, is_constant: bool) -> float:
        if is_constant:
            return self.loss({TensorRef(kernel): value})
        self.runner.load({kernel: value})
        return self.loss()


def _scanned(
    run: _Scan,
    loss: str,
    kernels: Mapping[str, tuple[Any, bool]],
    levels: tuple[float, ...],
    progress: Progress | None,
) -> Sensitivity:
    dense = run.loss()
    found: list[KernelSensitivity] = []
    total, done = len(kernels) * len(levels), 0
    for name, (value, is_constant) in kernels.items():
        losses: list[float] = []
        for level in levels:
            smaller = without_smallest(value, level)
            losses.append(run.pruned(name, smaller, is_constant=is_constant))
            done += 1
            if progress is not None:
                progress(done, total)
        if not is_constant:
            run.runner.load({name: value})
        found.append(KernelSensitivity(name, tuple(value.shape), tuple(losses)))
    return Sensitivity(loss, dense, levels, tuple(found))


def without_smallest(value: Any, share: float) -> Any:
    """``value`` with ``round(size * share)`` of its smallest magnitudes at 0, one kept at least."""
    flat = np.array(value).reshape(-1)
    count = min(round(flat.size * share), flat.size - 1)
    order = np.argsort(np.abs(flat.astype(np.float64)), kind="stable")
    flat[order[:count]] = 0
    return flat.reshape(np.shape(value))


def _loss(graph: Graph, name: str) -> TensorRef:
    ref = tensor_named(name)
    if ref.node not in graph:
        raise UsageError(f"There is no tensor '{printable(name)}' to take as the loss.")
    dtype = ops.output_dtype(graph[ref.node], ref.index)
    if dtype is not None and not dtype.is_floating:
        raise UsageError(f"'{printable(name)}' is no floating-point tensor, so it is no loss.")
    return ref


def _kernels(
    graph: Graph, needed: set[str], values: Mapping[str, Any]
) -> dict[str, tuple[Any, bool]]:
    """The values of the kernels that the loss depends on, and whether each is a constant."""
    found: dict[str, tuple[Any, bool]] = {}
    for kernel in find_kernels(graph):
        if kernel.name in needed and kernel.name in values:
            found[kernel.name] = (np.asarray(values[kernel.name]), False)
    for name in find_constants(graph).constants:
        value = graph[name].attrs.get("value")
        if name in needed and isinstance(value, TensorValue):
            found[name] = (to_numpy(value), True)
    return found
