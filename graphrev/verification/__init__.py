"""Numeric equivalence of two graphs: both are run on the same feeds, variables and random state."""

from graphrev.verification.equivalence import verify
from graphrev.verification.result import Comparison, Drift, Verification

__all__ = ["Comparison", "Drift", "Verification", "verify"]
