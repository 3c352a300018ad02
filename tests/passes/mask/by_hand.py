"""What training ``linear.py``'s net with masks comes to, computed with numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.passes.mask import linear

Rank = Callable[[str, Any, Any, int], Any]
"""Scores from kernel, weights, running figure and step."""


def dropped_first(scores: Any, count: int) -> Any:
    """The places of the ``count`` smallest scores, ties in index order."""
    return np.argsort(scores.ravel(), kind="stable")[:count]


def updated(scores: Any, sparsity: float) -> Any:
    mask = np.ones(scores.size)
    mask[dropped_first(scores, round(scores.size * sparsity))] = 0.0
    return mask.reshape(scores.shape)


def exchanged(mask: Any, scores: Any, grow_by: Any, sparsity: float, fraction: float) -> Any:
    """A share of the active weights is given up for others."""
    count = round(mask.size * sparsity)
    kept = mask.size - count
    stays = max(min(kept - round(kept * fraction), int(mask.sum())), 1)
    worth = np.where(mask > 0, scores, -1.0).ravel()
    first = np.argsort(worth, kind="stable")[mask.size - stays :]
    wish = grow_by.ravel().copy()
    wish[first] = np.inf
    new = np.ones(mask.size)
    new[dropped_first(wish, count)] = 0.0
    return new.reshape(mask.shape)


def momentum(w: Any, slots: dict[str, Any], gradient: Any, step: int) -> Any:
    slots["Momentum"] = linear.MOMENTUM * slots.get("Momentum", 0.0 * w) + gradient
    return w - linear.RATE * slots["Momentum"]


def adam(w: Any, slots: dict[str, Any], gradient: Any, step: int) -> Any:
    first, second = linear.MOMENTUM, linear.SQUARES
    slots["Adam"] = first * slots.get("Adam", 0.0 * w) + (1 - first) * gradient
    slots["Adam_1"] = second * slots.get("Adam_1", 0.0 * w) + (1 - second) * gradient**2
    rate = linear.RATE * np.sqrt(1 - second**step) / (1 - first**step)
    return w - rate * slots["Adam"] / (np.sqrt(slots["Adam_1"]) + linear.LEAST)


def trained(
    name: str,
    figure: Callable[[Any, Any, Any], Any],
    new_mask: Callable[[Any, Any, Any, int], Any],
    optimizer: Callable[[Any, dict[str, Any], Any, int], Any] = momentum,
    every: int = 2,
) -> dict[str, Any]:
    """The kernel, mask, running figure and slots after each step.

    Args:
        figure: the running figure after a step, from what it was, weight times gradient, and the
            mask.
        new_mask: from mask, weights, figure and step.
    """
    w, slots = linear.initial(name), {}
    mask, running = np.ones_like(w), np.zeros_like(w)
    found: dict[str, list[Any]] = {}
    for step in range(1, linear.STEPS + 1):
        slope = linear.slope(name, step)
        running = figure(running, w * slope, mask)
        w = optimizer(w, slots, mask * slope, step)
        if step % every == 0:
            fresh = new_mask(mask, w, running, step)
            grown = (fresh > 0) & (mask == 0)
            if getattr(new_mask, "grows", False):
                w = np.where(grown, 0.0, w)
                slots = {key: np.where(grown, 0.0, slot) for key, slot in slots.items()}
            mask = fresh
        for key, value in {"w": w, "mask": mask, "score": running, **slots}.items():
            found.setdefault(key, []).append(value)
    return {key: np.stack(values) for key, values in found.items()}


def growing(rule: Any) -> Any:
    """Marks a rule by which grown weights and their slots start at 0."""
    rule.grows = True
    return rule
