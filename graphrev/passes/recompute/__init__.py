"""Marked regions: computed again in the backward pass from what enters them."""

from graphrev.passes.recompute.pass_ import Recompute
from graphrev.passes.recompute.plan import RecomputePlan, RegionPlan

__all__ = ["Recompute", "RecomputePlan", "RegionPlan"]
