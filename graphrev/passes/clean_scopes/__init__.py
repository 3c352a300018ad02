"""Name scopes that ``tf.custom_gradient`` left in the backward pass, taken out of the names."""

from graphrev.passes.clean_scopes.pass_ import CleanScopes
from graphrev.passes.clean_scopes.plan import CleanPlan

__all__ = ["CleanPlan", "CleanScopes"]
