"""What is computed again in a gradient loop, and what that starts from.

Every value that the gradient loop pops is one of these:

* *free*: the same in every iteration (:mod:`graphrev.recomputation.loops.body`); computed there.
* *inner*: computed by pure ops of a region; a copy computes it again.
* a *source*: anything else that copies start from. Loop variables, TensorArray reads, random draws,
  what a branch or an inner loop yields, what another region computes. Saved once an iteration.

Values are told apart behind identities. Only a shape is asked for now and then where the tensor is
not needed itself: a shape is recomputed only from copies and sources that are there anyway,
otherwise its stack stays, which is small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphrev.analysis.frames_stacks import Stack
from graphrev.ir import TensorRef
from graphrev.ir.marks import is_opted_out
from graphrev.recomputation.facts import METADATA_OPS
from graphrev.recomputation.loops.body import Body, is_pure


@dataclass(frozen=True, slots=True)
class Needs:
    """What one loop needs.

    Attributes:
        clones: nodes to copy, in topological order.
        sources: by the tensor behind all identities, the tensor that copies read.
        replaced: stacks whose value a copy computes again.
        free: stacks whose value is free.
    """

    clones: tuple[str, ...]
    sources: Mapping[TensorRef, TensorRef]
    replaced: tuple[Stack, ...]
    free: tuple[Stack, ...]


def needs_of(body: Body, labels: Mapping[str, str] | None) -> Needs:
    """What the body needs when all it can do without is recomputed.

    Args:
        labels: the region of each node that may be copied; ``None``: all are one region.
    """
    return _Search(body, labels).run()


class _Search:
    def __init__(self, body: Body, labels: Mapping[str, str] | None) -> None:
        self._body = body
        self._graph = body.around.graph
        self._labels = self._fit(labels)

    def _fit(self, labels: Mapping[str, str] | None) -> Mapping[str, str]:
        """The region of each node that a copy can stand for."""
        found: dict[str, str] = {}
        for name in self._body.nodes:
            node = self._graph[name]
            if name in self._body.free or not is_pure(node) or is_opted_out(node):
                continue
            label = "" if labels is None else labels.get(name)
            if label is None and node.op in METADATA_OPS:
                of = {found.get(self._body.around.origin(ref).node) for ref in node.inputs}
                label = of.pop() if len(of) == 1 else None
            if label is not None:
                found[name] = label
        return found

    def run(self) -> Needs:
        stacks = self._body.stacks
        free = tuple(stack for stack in stacks if stack.value.node in self._body.free)
        inner = [stack for stack in stacks if self._origin(stack).node in self._labels]
        shapes = [stack for stack in inner if self._is_metadata(stack)]
        roots = [stack for stack in inner if not self._is_metadata(stack)]
        while True:
            clones, sources = self._closure(self._origin(stack).node for stack in roots)
            left = [stack for stack in roots if self._origin(stack) not in sources]
            if len(left) == len(roots):
                break
            roots = left
        known = {**sources, **{self._origin(s): s.value for s in stacks if s not in inner}}
        replaced = list(roots)
        for stack in shapes:
            if self._origin(stack) in sources:
                continue
            extra, starts = self._closure([self._origin(stack).node])
            if all(ref in known for ref in starts) and self._is_cheap(extra - clones):
                replaced.append(stack)
                clones |= extra
                sources.update(starts)
        ordered = tuple(name for name in self._body.nodes if name in clones)
        return Needs(ordered, sources, tuple(replaced), free)

    def _origin(self, stack: Stack) -> TensorRef:
        return self._body.around.origin(stack.value)

    def _is_metadata(self, stack: Stack) -> bool:
        return self._graph[self._origin(stack).node].op in METADATA_OPS

    def _is_cheap(self, names: Iterable[str]) -> bool:
        return all(self._graph[name].op in METADATA_OPS for name in names)

    def _closure(self, roots: Iterable[str]) -> tuple[set[str], dict[TensorRef, TensorRef]]:
        """The nodes that ``roots`` are computed by, and the sources of those."""
        clones: set[str] = set()
        sources: dict[TensorRef, TensorRef] = {}
        pending = list(roots)
        while pending:
            name = pending.pop()
            if name in clones:
                continue
            clones.add(name)
            for ref in self._graph[name].inputs:
                origin = self._body.around.origin(ref)
                if origin.node in self._body.free:
                    continue
                if self._labels.get(origin.node) == self._labels[name]:
                    pending.append(origin.node)
                else:
                    sources.setdefault(origin, ref)
        return clones, sources
