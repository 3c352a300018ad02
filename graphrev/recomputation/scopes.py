"""Where recomputed nodes are put: under the scope of the gradient ops that read them."""

from __future__ import annotations

from collections.abc import Iterable


def common_scope(names: Iterable[str]) -> str:
    """The longest name scope that all ``names`` lie in; ``graphrev`` when they share none."""
    common: list[str] | None = None
    for name in names:
        parts = name.split("/")[:-1]
        if common is None:
            common = parts
        length = 0
        for ours, theirs in zip(common, parts):
            if ours != theirs:
                break
            length += 1
        common = common[:length]
    return "/".join(common or ()) or "graphrev"
