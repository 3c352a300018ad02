"""graphrev rewrites TensorFlow graphs: recompute-on-backward for reversible residual blocks.

Importing it is cheap: nothing imports TensorFlow until something needs it.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from graphrev.arrival import register_when_tensorflow_arrives

if TYPE_CHECKING:
    from graphrev import layers, passes, pruning
    from graphrev.api import Rewritten, analyze, diff, load, rewrite, save, verify
    from graphrev.decorator import rewritten
    from graphrev.diff import GraphDiff
    from graphrev.errors import GraphrevError
    from graphrev.io import Model
    from graphrev.marks import (
        mark_residual_pair,
        no_rewrite,
        prunable,
        recompute_scope,
        residual_pair,
    )
    from graphrev.report import Report
    from graphrev.verification import Verification

__version__ = "0.1.0"

_HOMES = {
    "GraphDiff": "graphrev.diff",
    "GraphrevError": "graphrev.errors",
    "Model": "graphrev.io",
    "Report": "graphrev.report",
    "Rewritten": "graphrev.api",
    "Verification": "graphrev.verification",
    "analyze": "graphrev.api",
    "diff": "graphrev.api",
    "layers": "graphrev.layers",
    "load": "graphrev.api",
    "mark_residual_pair": "graphrev.marks",
    "no_rewrite": "graphrev.marks",
    "passes": "graphrev.passes",
    "prunable": "graphrev.marks",
    "pruning": "graphrev.pruning",
    "recompute_scope": "graphrev.marks",
    "residual_pair": "graphrev.marks",
    "rewrite": "graphrev.api",
    "rewritten": "graphrev.decorator",
    "save": "graphrev.api",
    "verify": "graphrev.api",
}

__all__ = [
    "GraphDiff",
    "GraphrevError",
    "Model",
    "Report",
    "Rewritten",
    "Verification",
    "analyze",
    "diff",
    "layers",
    "load",
    "mark_residual_pair",
    "no_rewrite",
    "passes",
    "prunable",
    "pruning",
    "recompute_scope",
    "residual_pair",
    "rewrite",
    "rewritten",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'graphrev' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"graphrev.{name}" else getattr(module, name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps ``graphrev.diff`` the function although there is a room of that name.

    The import system binds every submodule it loads in its parent.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        is_room = isinstance(value, ModuleType) and _HOMES.get(name) not in (None, value.__name__)
        if not is_room:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


register_when_tensorflow_arrives()
