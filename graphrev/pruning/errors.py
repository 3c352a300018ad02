"""What the pruning calls raise: the types ``tf.contrib.model_pruning`` raised, and graphrev's base.

``__init__`` is spelled out because of AutoGraph, as in :mod:`graphrev.layers.errors`.
"""

from __future__ import annotations

from graphrev.errors import UsageError


class PruningValueError(UsageError, ValueError):
    """A value or a shape that the call cannot work with."""

    __init__ = Exception.__init__


class PruningTypeError(UsageError, TypeError):
    """An argument of a kind that the call cannot work with."""

    __init__ = Exception.__init__


class PruningRuntimeError(UsageError, RuntimeError):
    """The call is made where it cannot work: in eager mode."""

    __init__ = Exception.__init__


class PruningKeyError(UsageError, KeyError):
    """A hyper-parameter that there is not."""

    __init__ = Exception.__init__
    __str__ = Exception.__str__


class PruningAssertionError(UsageError, AssertionError):
    """A node that is not in the graph, as ``extract_sub_graph`` says it."""

    __init__ = Exception.__init__
