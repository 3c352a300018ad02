"""Steps that every plan for recomputed values consists of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from graphrev.analysis import ops
from graphrev.ir import Graph, TensorRef


@dataclass(frozen=True, slots=True)
class Redirect:
    """``readers`` are to read the recomputed value of ``tensor``."""

    tensor: TensorRef
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A random op that is replaced by its stateless twin, and its twin's op type."""

    node: str
    twin: str


def redirects(reads: Iterable[tuple[TensorRef, str]]) -> tuple[Redirect, ...]:
    """``(tensor, reader)`` pairs by tensor, each reader once."""
    readers: dict[TensorRef, dict[str, None]] = {}
    for tensor, reader in reads:
        readers.setdefault(tensor, {})[reader] = None
    return tuple(Redirect(tensor, tuple(names)) for tensor, names in readers.items())


def replays(graph: Graph, names: Iterable[str]) -> Iterator[Replay]:
    """The random ops among ``names`` that have a stateless twin."""
    for name in names:
        twin = ops.stateless_twin(graph[name].op)
        if twin is not None:
            yield Replay(name, twin)
