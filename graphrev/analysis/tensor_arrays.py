"""What v1 TensorArrays hold, where that is proven: the slices of one tensor, one an iteration.

``dynamic_rnn`` takes its input apart into one array before its loop (``TensorArrayScatterV3`` by
``range``), reads the array at the loop's counter, writes its outputs to another one and puts them
together behind the loop (``TensorArrayGatherV3``), with a ``Transpose`` on either side where the
batch comes first (python/ops/rnn.py, python/ops/tensor_array_ops.py). An array is a resource: what
it holds is known only where everybody who has its handle is known. The arrays that
``TensorArrayGradV3`` makes from a handle are arrays of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from graphrev.analysis.frames_gradients import constant_integer, counts_up
from graphrev.analysis.frames_loops import ENTERS, ROOT, SWITCHES, Frame, Frames
from graphrev.analysis.identities import origin
from graphrev.ir import Graph, Node, TensorRef

_HANDS_ON = ENTERS | SWITCHES | {"Identity"}
_WRITES = frozenset({"TensorArrayScatterV3", "TensorArrayWriteV3"})
_READS = frozenset(
    {
        "TensorArrayCloseV3",
        "TensorArrayConcatV3",
        "TensorArrayGatherV3",
        "TensorArrayGradV3",
        "TensorArrayReadV3",
        "TensorArraySizeV3",
    }
)
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})


@dataclass(frozen=True, slots=True)
class Slices:
    """The slices of ``whole`` along ``axis``: number ``i`` belongs to iteration ``i``."""

    whole: TensorRef
    axis: int


@dataclass(frozen=True, slots=True)
class _Users:
    array: Node
    writes: tuple[str, ...]
    reads: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TensorArrays:
    """Answers for the TensorArrays of one graph.

    Attributes:
        numbers: the integers that a small tensor holds, where they are known.
        fed: tensors whose values somebody replaces from outside; nothing is claimed across them.
    """

    graph: Graph
    frames: Frames
    numbers: Callable[[TensorRef], tuple[int, ...] | None]
    fed: Container[TensorRef] = frozenset()

    def read(self, name: str, loop: Frame) -> Slices | None:
        """The tensor that ``name``, a node of the loop, reads one slice of in each iteration.

        As it was before any transposition that keeps the slices as they are.
        """
        node = self.graph[name]
        if node.op != "TensorArrayReadV3" or not self._counts(node.inputs[1], loop):
            return None
        users = self._users(node.inputs[0])
        if users is None or len(users.writes) != 1:
            return None
        scatter = self.graph[users.writes[0]]
        if scatter.op != "TensorArrayScatterV3" or self.frames.frame(scatter.name) != ROOT:
            return None
        if self._range(scatter.inputs[1]) is None:
            return None
        return self._before_copies(Slices(scatter.inputs[2], 0))

    def written(self, name: str, loop: Frame) -> Slices | None:
        """The tensor that the values ``name``, a node of the loop, writes are put together in.

        As it is behind any transposition that keeps the slices as they are and is the only one to
        read their values.
        """
        node = self.graph[name]
        if node.op != "TensorArrayWriteV3" or not self._counts(node.inputs[1], loop):
            return None
        users = self._users(node.inputs[0])
        if users is None or users.writes != (name,):
            return None
        for reader in users.reads:
            gather = self.graph[reader]
            if gather.op != "TensorArrayGatherV3" or TensorRef(reader) in self.fed:
                continue
            if self._gathers_all(gather, node, users, loop):
                return self._behind_copies(Slices(TensorRef(reader), 0))
        return None

    def _counts(self, ref: TensorRef, loop: Frame) -> bool:
        """Whether ``ref`` is the number of the iteration."""
        found = origin(self.graph, ref)
        counters = (v for v in loop.variables if v.value == found)
        return any(counts_up(self.graph, variable) is not None for variable in counters)

    def _range(self, ref: TensorRef) -> TensorRef | None:
        """Up to where ``ref`` counts, if it is 0, 1, 2 and so on."""
        node = self.graph[origin(self.graph, ref).node]
        if node.op != "Range":
            return None
        start, limit, step = node.inputs
        counts = (constant_integer(self.graph, end) for end in (start, step))
        return limit if tuple(counts) == (0, 1) else None

    def _gathers_all(self, gather: Node, write: Node, users: _Users, loop: Frame) -> bool:
        """Whether ``gather`` reads the whole array when the loop has written all it writes."""
        limit = self._range(gather.inputs[1])
        if limit is None or self.frames.frame(gather.name) != ROOT:
            return False
        flow = origin(self.graph, gather.inputs[2])
        flows = [v for v in loop.variables if flow.node in v.exits]
        if not any(self._sent_on(v.next) == TensorRef(write.name) for v in flows):
            return False
        bound, size = origin(self.graph, limit), users.array.inputs[0]
        if bound.node in users.reads:
            asked = self.graph[bound.node]
            waits = origin(self.graph, asked.inputs[-1]) == flow
            return asked.op == "TensorArraySizeV3" and (waits or _is_fixed(users.array))
        same = bound == origin(self.graph, size) or self._same_number(limit, size)
        return same and _is_fixed(users.array)

    def _same_number(self, left: TensorRef, right: TensorRef) -> bool:
        number = constant_integer(self.graph, left)
        return number is not None and number == constant_integer(self.graph, right)

    def _sent_on(self, name: str) -> TensorRef:
        """What a NextIteration sends on."""
        return origin(self.graph, self.graph[name].inputs[0])

    def _users(self, handle: TensorRef) -> _Users | None:
        """Everybody who has the handle of an array, if all of them are known."""
        node = self.graph[handle.node]
        while node.op in _HANDS_ON:
            handle = node.inputs[0]
            node = self.graph[handle.node]
        if node.op != "TensorArrayV3" or handle.index != 0:
            return None
        found: dict[str, None] = {}
        pending, seen = [handle], {handle}
        while pending:
            for name in self.graph.readers_of(pending.pop()):
                outputs = {"Switch": 2, "RefSwitch": 2}.get(self.graph[name].op, 1)
                if self.graph[name].op not in _HANDS_ON:
                    found[name] = None
                    continue
                handed = {TensorRef(name, i) for i in range(outputs)} - seen
                seen |= handed
                pending.extend(handed)
        if any(self.graph[name].op not in _WRITES | _READS for name in found):
            return None
        writes = tuple(name for name in found if self.graph[name].op in _WRITES)
        return _Users(node, writes, tuple(name for name in found if name not in writes))

    def _before_copies(self, slices: Slices) -> Slices | None:
        while True:
            node = self.graph[slices.whole.node]
            if slices.whole in self.fed:
                return slices
            if node.op == "Identity":
                slices = Slices(node.inputs[0], slices.axis)
            elif node.op == "Transpose":
                order = self._order(node, slices.axis)
                if order is None:
                    return None
                slices = Slices(node.inputs[0], order[slices.axis])
            else:
                return slices

    def _behind_copies(self, slices: Slices) -> Slices:
        while True:
            names = self.graph.readers_of(slices.whole)
            readers = [self.graph[name] for name in names if self.graph[name].op not in _SHAPES]
            if len(readers) != 1 or self.frames.frame(readers[0].name) != ROOT:
                return slices
            axis, copy = self._axis_behind(readers[0], slices), TensorRef(readers[0].name)
            if axis is None or copy in self.fed:
                return slices
            slices = Slices(copy, axis)

    def _axis_behind(self, reader: Node, slices: Slices) -> int | None:
        """Where the slices lie in what ``reader`` makes of their tensor, if it keeps them."""
        if reader.op == "Identity":
            return slices.axis
        if reader.op != "Transpose" or reader.inputs[0] != slices.whole:
            return None
        order = self.numbers(reader.inputs[1])
        if order is None or slices.axis not in order:
            return None
        axis = order.index(slices.axis)
        return None if self._order(reader, axis) is None else axis

    def _order(self, transpose: Node, axis: int) -> tuple[int, ...] | None:
        """The order of a transposition whose slices along ``axis`` are not transposed."""
        order = self.numbers(transpose.inputs[1])
        if order is None or axis >= len(order) or sorted(order) != list(range(len(order))):
            return None
        rest = [*order[:axis], *order[axis + 1 :]]
        return order if rest == sorted(rest) else None


def _is_fixed(array: Node) -> bool:
    return array.attrs.get("dynamic_size", False) is False
