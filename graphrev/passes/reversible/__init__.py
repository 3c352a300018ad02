"""Reversible residual pairs: streams are rebuilt in the backward pass instead of kept."""

from graphrev.passes.reversible.pass_ import Reversible
from graphrev.passes.reversible.plan import BlockPlan, HalfPlan, ReversiblePlan

__all__ = ["BlockPlan", "HalfPlan", "Reversible", "ReversiblePlan"]
