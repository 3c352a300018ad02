"""Passes, plans, rejections, and running them."""

from graphrev.pipeline.passes import Pass, Plan
from graphrev.pipeline.rejection import EXPLANATIONS, Code, Explanation, Rejection
from graphrev.pipeline.run import Progress, Run, Step, apply_plan, run

__all__ = [
    "EXPLANATIONS",
    "Code",
    "Explanation",
    "Pass",
    "Plan",
    "Progress",
    "Rejection",
    "Run",
    "Step",
    "apply_plan",
    "run",
]
