"""Magnitude pruning in the graph: kernels train as ``mask * kernel``."""

from graphrev.passes.mask.pass_ import Mask
from graphrev.passes.mask.plan import GradientMask, KernelPlan, MaskPlan, UpdatePlan

__all__ = ["GradientMask", "KernelPlan", "Mask", "MaskPlan", "UpdatePlan"]
