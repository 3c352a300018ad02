"""Finds the scopes that ``tf.gradients`` opened for the gradient of a ``tf.custom_gradient``.

``tf.custom_gradient`` puts an ``IdentityN`` behind what the function returned and stores its
gradient in the attribute ``_gradient_op_type`` as ``CustomGradient-<number>``
(python/ops/custom_gradient.py). Differentiating op ``a/b/IdentityN``, ``tf.gradients`` opens the
scope ``<own scope>/a/b/IdentityN_grad`` (python/ops/gradients_util.py), and everything the function
does in its gradient lies there: a whole recomputed layer under the name of an identity.

A scope is one of these only if such an op exists under the very name that the path spells, with
the prefix of ``tf.import_graph_def`` in front of both if there is one. The word alone says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphrev.ir import Graph
from graphrev.ir.deferred import DEFERRED_OP, GRADIENT_ATTR

_MADE_BY = b"CustomGradient-"
_SUFFIX = "_grad"

_DEEPEST = 32
"""Scopes that one name may lie in; deeper ones, which only a hostile graph has, are left alone."""

Path = tuple[str, ...]


class LeftScopes:
    """The scopes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._ops = frozenset(
            tuple(name.split("/"))
            for name, node in graph.nodes.items()
            if node.op == DEFERRED_OP
            and name.count("/") <= _DEEPEST
            and _is_custom(node.attrs.get(GRADIENT_ATTR))
        )
        self._last = frozenset(f"{path[-1]}{_SUFFIX}" for path in self._ops)
        self._depth = max(map(len, self._ops), default=0)

    def places(self, path: Path) -> tuple[int, ...]:
        """Where in ``path``, a node's name, the scopes are; the node's own name is none."""
        return tuple(self._found(path)) if self._last and len(path) <= 2 * _DEEPEST else ()

    def _found(self, path: Path) -> Iterator[int]:
        for place, part in enumerate(path[:-1]):
            if place and part in self._last and self._is_spelled(path, place):
                yield place

    def _is_spelled(self, path: Path, place: int) -> bool:
        """Whether the parts up to ``place`` are a prefix, a gradient scope, and an op's name."""
        own = path[place].removesuffix(_SUFFIX)
        return any(
            (*path[:prefix], *path[start:place], own) in self._ops
            for prefix in range(min(place, self._depth))
            for start in range(max(prefix + 1, place - self._depth), place + 1)
        )


def _is_custom(value: object) -> bool:
    return isinstance(value, bytes) and value.startswith(_MADE_BY)
