"""The shrink pass."""

from graphrev.passes.shrink.pass_ import Shrink
from graphrev.passes.shrink.plan import ShrinkPlan

__all__ = ["Shrink", "ShrinkPlan"]
