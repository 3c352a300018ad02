"""Which inputs are to read the masked kernel, decided once per read.

A view that only leads to products is re-pointed; a view that weight decay reads as well is copied,
so that the decay keeps the raw value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphrev.ir import TensorRef
from graphrev.passes.mask.trace import Edge, Read


@dataclass(frozen=True, slots=True)
class Rewire:
    """Input ``position`` of ``reader`` is to read the masked value.

    Attributes:
        copied: for a view with other readers: what is to read the copy, by output of the view;
            ``None`` for a reader that is re-pointed itself.
    """

    reader: str
    position: int
    copied: tuple[tuple[int, tuple[Rewire, ...]], ...] | None = None

    def nodes(self) -> Iterator[str]:
        """The nodes whose inputs change (copies of views are new nodes)."""
        if self.copied is None:
            yield self.reader
            return
        for _, rewires in self.copied:
            for rewire in rewires:
                yield from rewire.nodes()


def rewires(read: Read) -> tuple[Rewire, ...]:
    """The rewirings of one read; see :class:`Rewire`."""
    carries = _carrying(read)
    pure = _pure(read, carries)
    return tuple(_rewires(read, read.tensor, carries, pure))


def copied_views(found: tuple[Rewire, ...]) -> Iterator[str]:
    """The views that are copied."""
    for rewire in found:
        if rewire.copied is not None:
            yield rewire.reader
            for _, inner in rewire.copied:
                yield from copied_views(inner)


def _carrying(read: Read) -> frozenset[TensorRef]:
    """The tensors from which some use is reached."""
    found: set[TensorRef] = set()
    for _, tensor in read.uses():
        while tensor not in found:
            found.add(tensor)
            if tensor not in read.parents:
                break
            tensor = read.parents[tensor][1]
    return frozenset(found)


def _pure(read: Read, carries: frozenset[TensorRef]) -> frozenset[TensorRef]:
    """The tensors that nothing but uses, and views of theirs, read."""
    mixed: set[TensorRef] = set()
    for tensor, edges in read.edges.items():
        if all(edge.is_use or _leads(edge, carries) for edge in edges):
            continue
        while tensor not in mixed:
            mixed.add(tensor)
            if tensor not in read.parents:
                break
            tensor = read.parents[tensor][1]
    return frozenset(read.edges) - mixed


def _leads(edge: Edge, carries: frozenset[TensorRef]) -> bool:
    return any(output in carries for output in edge.outputs)


def _rewires(
    read: Read, tensor: TensorRef, carries: frozenset[TensorRef], pure: frozenset[TensorRef]
) -> Iterator[Rewire]:
    for edge in read.edges[tensor]:
        if edge.is_use:
            yield Rewire(edge.reader, edge.position)
        elif not _leads(edge, carries):
            continue
        elif all(output in pure for output in edge.outputs):
            yield Rewire(edge.reader, edge.position)
        else:
            copied = tuple(
                (output.index, tuple(_rewires(read, output, carries, pure)))
                for output in edge.outputs
                if output in carries
            )
            yield Rewire(edge.reader, edge.position, copied)
