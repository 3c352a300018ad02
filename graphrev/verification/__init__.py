"""Numeric equivalence of two graphs: both are run on the same feeds, variables and random state."""

from graphrev.verification.equivalence import verify
from graphrev.verification.result import Comparison, Drift, Verification
from graphrev.verification.validation import How, Validation, validate

__all__ = ["Comparison", "Drift", "How", "Validation", "Verification", "validate", "verify"]
