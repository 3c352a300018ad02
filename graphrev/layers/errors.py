"""What the layer calls raise: upstream's types, and graphrev's base class.

``__init__`` is spelled out because of AutoGraph, which runs a layer's ``call`` in graph mode and
raises its errors anew with the user's source lines: it keeps the type only of classes whose
``__init__`` is ``Exception``'s own (autograph/pyct/error_utils.py), and a class that is a
``ValueError`` as well would find that one's. Without this line such an error arrives as a bare
``StagingError``.
"""

from __future__ import annotations

from graphrev.errors import UsageError


class LayerValueError(UsageError, ValueError):
    """A value or a shape that the call cannot work with."""

    __init__ = Exception.__init__


class LayerTypeError(UsageError, TypeError):
    """An argument of a kind that the call cannot work with."""

    __init__ = Exception.__init__


class LayerRuntimeError(UsageError, RuntimeError):
    """The call is made where it cannot work, for instance in eager mode."""

    __init__ = Exception.__init__


class LayerCountError(UsageError, AssertionError):
    """A list of functions that is not as long as the number of layers."""

    __init__ = Exception.__init__


class LayerNotImplementedError(UsageError, NotImplementedError):
    """Something that is not supported, with what to do instead."""

    __init__ = Exception.__init__
