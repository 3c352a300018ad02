"""The variables of a masked graph in a checkpoint: dense to masked, masked to dense, sparsity.

Under what name a variable is saved is read off the graph's save ops; where it has none, it is the
variable's own name (a partition's without ``/part_k``, as TensorFlow saves it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphrev.analysis import ops
from graphrev.analysis.saved_names import saved_names
from graphrev.errors import UsageError, printable
from graphrev.io.tensors import to_numpy
from graphrev.ir import Graph, Node, Shape, TensorRef, TensorValue
from graphrev.ir.marks import END_ATTR, ZEROS_ATTR, group_of, kernel_of, role_of
from graphrev.passes.mask.sparsity import Sparsity, together

Start = Literal["ones", "zeros"]
Values = Mapping[str, Any]
_VARIABLES = frozenset({"VariableV2", "Variable", "VarHandleOp"})
_SHOWN = 5


@dataclass(frozen=True)
class SavedMask:
    """A kernel with its mask, or several that are partitions of one, by their names when saved.

    Attributes:
        kernel, mask: the names.
        thresholds: the names of the thresholds, one per partition.
        shape: the shape of one partition's kernel, or of the whole if there is one.
        zeros: how many zeros the mask, or its group, has when its schedule has ended; ``None``
            where that depends on the weights.
        group: the kernels it is ranked with.
    """

    kernel: str
    mask: str
    thresholds: tuple[str, ...]
    shape: tuple[int, ...]
    parts: int
    zeros: int | None
    group: str | None = None


class MaskedGraph:
    """What a masked graph says about its checkpoints.

    Raises:
        UsageError: the graph has no masks.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._keys = saved_names(graph)
        self.masks = tuple(self._masks())
        found = (n for n in graph.nodes.values() if role_of(n) == "last-update" and _is_variable(n))
        self._last = next(found, None)
        nodes = graph.nodes.values()
        self._scores = [n for n in nodes if role_of(n) == "score" and _is_variable(n)]
        if not self.masks:
            raise UsageError(
                "The graph has no masks that a mask pass recorded. Give the graph that "
                "'graphrev rewrite -p mask' wrote."
            )

    def masked(self, values: Values, start: Start) -> dict[str, Any]:
        """A dense checkpoint's variables with masks beside them.

        One that was masked under another criterion keeps its masks and gets the figures it lacks.

        Args:
            start: ``ones`` for masks that keep everything, ``zeros`` for masks that drop what is
                zero already.

        Raises:
            UsageError: it has masks already, or is of another graph.
        """
        there = [mask.mask for mask in self.masks if mask.mask in values]
        lacking = self._lacking(values)
        if lacking and len(there) == len(self.masks):
            self._check(values, masks=True)
            return {**values, **lacking}
        if there:
            raise UsageError(
                f"The checkpoint holds masks already: {_listed(there)}. Use --to dense to fold "
                "them into the kernels."
            )
        self._check(values)
        result = dict(values)
        for mask in self.masks:
            kernel = values[mask.kernel]
            keep = np.ones_like(kernel) if start == "ones" else (kernel != 0).astype(kernel.dtype)
            result[mask.mask] = keep
            result.update((name, np.zeros((), kernel.dtype)) for name in mask.thresholds)
        for node in (*self._scores, *([] if self._last is None else [self._last])):
            result[self._key(node.name)] = self._initial(node)
        return result

    def _lacking(self, values: Values) -> dict[str, Any]:
        """What the criterion's figures start as, of those that ``values`` does not hold."""
        keys = {self._key(node.name): node for node in self._scores}
        return {key: self._initial(node) for key, node in keys.items() if key not in values}

    def dense(self, values: Values) -> dict[str, Any]:
        """A masked checkpoint's variables with every kernel multiplied by its mask.

        Raises:
            UsageError: it has no masks, or is of another graph.
        """
        self._check(values, masks=True)
        gone = {name for mask in self.masks for name in (mask.mask, *mask.thresholds)}
        gone.update(self._key(node.name) for node in self._scores)
        if self._last is not None:
            gone.add(self._key(self._last.name))
        result = {name: value for name, value in values.items() if name not in gone}
        for mask in self.masks:
            result[mask.kernel] = values[mask.kernel] * values[mask.mask]
        return result

    def initial(self) -> dict[str, Any]:
        """What the graph's variables start as.

        Raises:
            UsageError: a variable starts as something that is not stored in the graph.
        """
        result: dict[str, Any] = {}
        strange: list[str] = []
        for node in self._graph.nodes.values():
            if not _is_variable(node):
                continue
            value = self._initial(node)
            if value is None:
                strange.append(node.name)
            else:
                result[self._key(node.name)] = value
        if strange:
            raise UsageError(
                f"Not every variable starts as a constant: {_listed(strange)} do not. Give the "
                "checkpoint to start from."
            )
        return result

    def has_masks(self, values: Values) -> bool:
        """Whether ``values`` holds one of the masks."""
        return any(mask.mask in values for mask in self.masks)

    def sparsity(self, values: Values) -> tuple[Sparsity, ...]:
        """How sparse each kernel is in a checkpoint; by its zeros where that has no masks.

        Raises:
            UsageError: it is of another graph.
        """
        masked = self.has_masks(values)
        self._check(values, masks=masked)
        found: list[Sparsity] = []
        for mask in self.masks:
            value = values[mask.mask if masked else mask.kernel]
            zeros = int(value.size - np.count_nonzero(value))
            target = None if mask.group else mask.zeros
            found.append(Sparsity(mask.kernel, int(value.size), zeros, target, mask.group))
        groups = {m.group: m.zeros for m in self.masks if m.group}
        return (*found, *(together(found, group, zeros) for group, zeros in groups.items()))

    def ended(self, values: Values) -> bool:
        """Whether the schedule had ended when the checkpoint was saved.

        A schedule without an end has ended once there was an update.
        """
        if self._last is None or self._key(self._last.name) not in values:
            return False
        step, first = values[self._key(self._last.name)], self._initial(self._last)
        end = self._last.attrs.get(END_ATTR)
        return bool(step >= end if isinstance(end, int) else step != first)

    def _masks(self) -> Iterator[SavedMask]:
        thresholds: dict[str, str] = {}
        groups: dict[str, list[Node]] = {}
        for node in self._graph.nodes.values():
            if not _is_variable(node):
                continue
            if role_of(node) == "threshold":
                thresholds[kernel_of(node) or ""] = node.name
            elif role_of(node) == "mask":
                groups.setdefault(self._key(kernel_of(node) or ""), []).append(node)
        for kernel, nodes in groups.items():
            counts = [n.attrs.get(ZEROS_ATTR) for n in nodes]
            names = [thresholds[k] for n in nodes if (k := kernel_of(n) or "") in thresholds]
            known = [count for count in counts if isinstance(count, int)]
            group = group_of(nodes[0])
            whole = known[0] if group and known else sum(known)
            yield SavedMask(
                kernel,
                self._key(nodes[0].name),
                tuple(map(self._key, names)),
                _dims(nodes[0]),
                len(nodes),
                whole if len(known) == len(nodes) else None,
                group,
            )

    def _key(self, variable: str) -> str:
        head, _, last = variable.rpartition("/")
        is_part = bool(head) and last.startswith("part_") and last[5:].isdigit()
        return self._keys.get(variable, head if is_part else variable)

    def _initial(self, variable: Node) -> Any:
        for reader in self._graph.readers_of(TensorRef(variable.name)):
            node = self._graph[reader]
            if not ops.is_assignment(node.op):
                continue
            value = self._graph[node.inputs[1].node].attrs.get("value")
            if isinstance(value, TensorValue):
                return to_numpy(value)
        return None

    def _check(self, values: Values, *, masks: bool = False) -> None:
        """Refuses the checkpoint of another graph, with names and shapes."""
        wrong: list[str] = []
        for mask in self.masks:
            names = (mask.kernel, mask.mask) if masks else (mask.kernel,)
            for name in names:
                problem = _problem(name, values, mask)
                if problem:
                    wrong.append(problem)
        if wrong:
            more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise UsageError(
                f"The checkpoint is of another graph: {'; '.join(wrong[:_SHOWN])}{more}. Give the "
                "checkpoint of the graph that was masked."
            )


def _problem(name: str, values: Values, mask: SavedMask) -> str:
    shown, wanted = f"'{printable(name)}'", list(mask.shape)
    if name not in values:
        return f"{shown} {wanted} is not in it"
    found = list(values[name].shape)
    fits = found == wanted if mask.parts == 1 else len(found) == len(wanted)
    return "" if fits else f"{shown} has the shape {found}, not {wanted}"


def _is_variable(node: Node) -> bool:
    return node.op in _VARIABLES


def _dims(node: Node) -> tuple[int, ...]:
    shape = node.attrs.get("shape")
    dims = shape.dims if isinstance(shape, Shape) else None
    return tuple(dim or 0 for dim in dims or ())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{printable(name)}'" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
