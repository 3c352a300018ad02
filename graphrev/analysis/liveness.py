"""Predicts the peak activation bytes of one step from the graph and its shapes.

The step is played through as TensorFlow's CPU executor runs it with one inter-op thread
(core/common_runtime/executor.cc): a finished node makes its readers ready; cheap ones run at once,
first come first served; expensive ones go to a pool whose single worker takes the newest first
(Eigen's ThreadPool pushes a worker's own tasks to the front of its queue). A buffer lives from the
node that makes it to the last node that reads it. Aliases share their input's buffer; an
elementwise op takes over an input buffer that nobody else will read.

Constants and variables are not activations, and a read of a variable shares its buffer. Every node
of a loop is played once. Tensors of unknown size count nothing and are reported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from graphrev.analysis import ops
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import Graph, Node, Shape, TensorRef

_PERSISTENT = frozenset({"Const", "HostConst", "NoOp"})
_BACK_EDGES = frozenset({"NextIteration", "RefNextIteration"})
_EXPENSIVE_BYTES = 1 << 14
"""Ops whose outputs are smaller finish within the executor's 8,000 cycles and run inline."""


@dataclass(frozen=True)
class MemoryProfile:
    """Predicted memory of a step.

    Attributes:
        peak_bytes: the most bytes of activations alive at once.
        peak_node: the node that was running then.
        timeline: ``(node, bytes alive)`` after each node that allocates, in predicted order.
        unknown: tensors whose size depends on something unknown; they count nothing.
        nodes: how many nodes the step runs.
    """

    peak_bytes: int
    peak_node: str
    timeline: tuple[tuple[str, int], ...]
    unknown: tuple[TensorRef, ...]
    nodes: int

    def to_json(self) -> dict[str, Any]:
        """The prediction as plain data, without the timeline."""
        return {
            "peak_bytes": self.peak_bytes,
            "peak_node": self.peak_node,
            "nodes": self.nodes,
            "tensors_of_unknown_size": len(self.unknown),
        }


def predict_memory(
    graph: Graph,
    fetches: Iterable[str],
    feeds: Mapping[str, Shape] | None = None,
    shapes: Shapes | None = None,
) -> MemoryProfile:
    """Plays one step and returns its memory profile.

    Args:
        graph: a verified graph.
        fetches: names of the nodes the step runs for (the train op).
        feeds: shapes of what will be fed, by node name.
        shapes: shapes inferred before, if the caller has them.
    """
    known = shapes if shapes is not None else infer_shapes(graph, feeds)
    return _Player(graph, known, _needed(graph, fetches, frozenset(feeds or ()))).play()


def predict_step(
    graph: Graph, targets: Iterable[str], feeds: Mapping[str, Shape] | None = None
) -> MemoryProfile:
    """The memory profile of a training step, for those of ``targets`` that the graph holds.

    Where it holds none of them, the step is what :func:`training_targets` finds.
    """
    named = tuple(name for name in targets if name in graph)
    return predict_memory(graph, named or training_targets(graph), feeds)


def training_targets(graph: Graph) -> tuple[str, ...]:
    """What a training step runs for: the ops that apply the optimizer, else all that nobody reads.

    Savers, restores and initializers are no part of a step.
    """
    applied = tuple(n.name for n in graph.nodes.values() if ops.is_optimizer_apply(n.op))
    if applied:
        return applied
    read = {ref.node for n in graph.nodes.values() for ref in n.inputs}
    read.update(source for n in graph.nodes.values() for source in n.control_inputs)
    aside = ("SaveV2", "Save", "RestoreV2", "Restore", "Assign", "AssignVariableOp", "NoOp")
    return tuple(name for name, n in graph.nodes.items() if name not in read and n.op not in aside)


@cache
def _runs_inline(op: str) -> bool:
    """Whether the executor takes the op for cheap whatever its size."""
    return ops.is_aliasing(op) or op in _PERSISTENT or ops.is_variable_read(op)


def _needed(graph: Graph, fetches: Iterable[str], fed: frozenset[str]) -> set[str]:
    nodes = graph.nodes
    needed = {name for name in fetches if name in nodes}
    pending = list(needed)
    while pending:
        node = nodes[pending.pop()]
        if node.name in fed:
            continue
        sources = [ref.node for ref in node.inputs]
        for source in (*sources, *node.control_inputs):
            if source not in needed:
                needed.add(source)
                pending.append(source)
    return needed


@dataclass(slots=True)
class _Buffer:
    size: int
    readers: int = 0


@dataclass
class _Player:
    """Plays a step; mutable while it does."""

    graph: Graph
    shapes: Shapes
    needed: set[str]
    live: int = 0
    peak: int = 0
    peak_node: str = ""
    buffers: dict[TensorRef, _Buffer] = field(default_factory=dict[TensorRef, _Buffer])
    timeline: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    unknown: list[TensorRef] = field(default_factory=list[TensorRef])
    sizes: dict[TensorRef, int | None] = field(default_factory=dict[TensorRef, "int | None"])
    reads: dict[TensorRef, int] = field(default_factory=dict[TensorRef, int])
    """How often the step reads each tensor."""

    def play(self) -> MemoryProfile:
        """Runs every needed node in the executor's order."""
        waiting, followers = self._edges()
        inline: deque[str] = deque()
        pool = [name for name, count in waiting.items() if not count]
        pool.reverse()
        while pool or inline:
            name = inline.popleft() if inline else pool.pop()
            self._run(self.graph[name])
            ready: list[str] = []
            for follower in followers.get(name, ()):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
            self._schedule(ready, inline, pool)
        return MemoryProfile(
            self.peak,
            self.peak_node,
            tuple(self.timeline),
            tuple(self.unknown),
            len(self.needed),
        )

    def _edges(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """How many edges each node still waits for, and who waits for it (loops opened)."""
        waiting: dict[str, int] = {}
        followers: dict[str, list[str]] = {}
        nodes, needed, reads = self.graph.nodes, self.needed, self.reads
        back = {name for name, node in nodes.items() if node.op in _BACK_EDGES}
        for name, node in nodes.items():
            if name not in needed:
                continue
            sources = [ref.node for ref in node.inputs]
            for ref in node.inputs:
                reads[ref] = reads.get(ref, 0) + 1
            count = 0
            for source in (*sources, *node.control_inputs):
                if source in needed and source not in back:
                    followers.setdefault(source, []).append(name)
                    count += 1
            waiting[name] = count
        return waiting, followers

    def _schedule(self, ready: list[str], inline: deque[str], pool: list[str]) -> None:
        expensive: list[str] = []
        for name in ready:
            (expensive if self._is_expensive(name) else inline).append(name)
        if expensive and not inline:
            inline.append(expensive.pop())
        pool.extend(expensive)

    def _is_expensive(self, name: str) -> bool:
        node = self.graph[name]
        if _runs_inline(node.op):
            return False
        for ref in (TensorRef(name), *node.inputs):
            if (self._bytes(ref) or 0) > _EXPENSIVE_BYTES:
                return True
        return False

    def _bytes(self, ref: TensorRef) -> int | None:
        """What the tensor takes, worked out once: every reader asks again."""
        size = self.sizes.get(ref, -1)
        if size == -1:
            size = self.sizes[ref] = self.shapes.bytes(ref)
        return size

    def _run(self, node: Node) -> None:
        outputs = self._outputs(node)
        for index in range(outputs):
            self._allocate(node, index)
        if self.live > self.peak:
            self.peak, self.peak_node = self.live, node.name
        for ref in node.inputs:
            self._release(ref)
        for index in range(outputs):
            ref = TensorRef(node.name, index)
            buffer = self.buffers.get(ref)
            if buffer is not None and not buffer.readers:
                self.live -= buffer.size
                buffer.size = 0

        if node.inputs:
            self.timeline.append((node.name, self.live))

    def _outputs(self, node: Node) -> int:
        return len(self.shapes.found.get(node.name, ()))

    def _allocate(self, node: Node, index: int) -> None:
        ref = TensorRef(node.name, index)
        readers = self.reads.get(ref, 0)
        shared = self._shared_buffer(node, index)
        if shared is not None:
            shared.readers += readers
            self.buffers[ref] = shared
            return
        size = self._size(node, ref)
        self.live += size
        self.buffers[ref] = _Buffer(size, readers)

    def _size(self, node: Node, ref: TensorRef) -> int:
        if node.op in _PERSISTENT or ops.is_variable(node.op) or ops.is_variable_read(node.op):
            return 0
        if ops.is_placeholder(node.op):
            return 0
        size = self._bytes(ref)
        if size is None:
            dtype = self.shapes.dtype(ref)
            if dtype is not None and dtype.byte_size is not None:
                self.unknown.append(ref)
        return size or 0

    def _shared_buffer(self, node: Node, index: int) -> _Buffer | None:
        """The input buffer that an output is, or takes over."""
        if ops.is_aliasing(node.op) and node.inputs:
            return self.buffers.get(node.inputs[min(index, len(node.inputs) - 1)])
        if not ops.may_forward_buffer(node.op):
            return None
        size = self._bytes(TensorRef(node.name, index))
        for ref in node.inputs:
            buffer = self.buffers.get(ref)
            if buffer is not None and buffer.readers == 1 and buffer.size == size and size:
                return buffer
        return None

    def _release(self, ref: TensorRef) -> None:
        buffer = self.buffers.get(ref)
        if buffer is None:
            return
        buffer.readers -= 1
        if buffer.readers <= 0:
            self.live -= buffer.size
            buffer.size = 0
