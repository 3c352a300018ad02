"""Takes masks out again: ``mask * kernel`` becomes the kernel."""

from graphrev.passes.strip_masks.pass_ import StripMasks
from graphrev.passes.strip_masks.plan import Fold, StripPlan

__all__ = ["Fold", "StripMasks", "StripPlan"]
