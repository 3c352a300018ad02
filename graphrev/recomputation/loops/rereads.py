"""Variables that are read in a loop body, and whether the gradient loop may read them again.

Reading a resource variable takes a snapshot (core/kernels/training_op_helpers.h). One more
snapshot, taken when the forward loop has left, equals what all iterations read if nobody writes
the variable from the loop's start until then. Writers that run in a loop themselves rule that out;
writers that depend on the loop (the optimizer) are made to wait for the snapshot; writers that
depend on nothing in it (initializers, restores) are not ordered in the plain graph either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphrev.analysis.frames import Context
from graphrev.analysis.frames_gradients import ControlFlow, GradientLoop
from graphrev.analysis.frames_loops import ENTERS, ROOT
from graphrev.analysis.order import descendant_labels
from graphrev.recomputation.facts import Facts

_HANDLES = frozenset({"VarHandleOp"})
_READERS = frozenset(
    {
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "VarIsInitializedOp",
        "VariableShape",
    }
)
_HANDS_ON = ENTERS | {"Identity", "Switch", "RefSwitch"}


@dataclass(frozen=True, eq=False)
class Rereads:
    """Answers for one graph.

    Attributes:
        contexts: the loop or branch of each node.
    """

    around: Facts
    flow: ControlFlow
    contexts: Mapping[str, Context]
    _labels: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def handle(self, read: str) -> str | None:
        """The VarHandleOp that a read goes to, if nothing but control flow lies between."""
        graph = self.around.graph
        node = graph[graph[read].inputs[0].node]
        while node.op in _HANDS_ON:
            node = graph[node.inputs[0].node]
        return node.name if node.op in _HANDLES else None

    def allows(self, read: str, pair: GradientLoop) -> bool:
        """Whether the read may be replaced by a snapshot taken behind the forward loop."""
        handle = self.handle(read)
        outermost = self.flow.frames.outermost(pair.forward.number)
        loop = self.flow.frames.loops[outermost]
        exits = [name for variable in loop.variables for name in variable.exits]
        if handle is None or not exits:
            return False
        return all(self.flow.frames.frame(name) == ROOT for name in self._writers(handle))

    def late_writers(self, read: str, pair: GradientLoop) -> tuple[str, ...]:
        """The writers that must wait for the snapshot: those that depend on the forward loop."""
        handle = self.handle(read)
        if handle is None:
            return ()
        labels = self._behind(self.flow.frames.outermost(pair.forward.number))
        ids = self.around.index.ids
        return tuple(name for name in self._writers(handle) if labels[ids[name]])

    def _behind(self, frame: int) -> list[int]:
        if frame not in self._labels:
            inside = self.flow.frames.of.items()
            seeds = [self.around.index.ids[name] for name, number in inside if number == frame]
            self._labels[frame] = descendant_labels(self.around.index, [seeds], control=True)
        return self._labels[frame]

    @cached_property
    def _same_variable(self) -> Mapping[tuple[object, ...], list[str]]:
        """Handles by the variable they stand for: two handles may share one."""
        found: dict[tuple[object, ...], list[str]] = defaultdict(list)
        for name, node in self.around.graph.nodes.items():
            if node.op in _HANDLES:
                found[self._identity(name)].append(name)
        return found

    def _identity(self, handle: str) -> tuple[object, ...]:
        attrs = self.around.graph[handle].attrs
        return (attrs.get("container") or b"", attrs.get("shared_name") or handle.encode())

    def _writers(self, handle: str) -> list[str]:
        """Every op that takes the variable's handle and may do more than read."""
        graph = self.around.graph
        pending = list(self._same_variable[self._identity(handle)])
        seen, writers = set(pending), list[str]()
        while pending:
            for reader in graph.readers.get(pending.pop(), ()):
                if reader in seen:
                    continue
                seen.add(reader)
                op = graph[reader].op
                if op in _HANDS_ON:
                    pending.append(reader)
                elif op not in _READERS:
                    writers.append(reader)
        return writers
