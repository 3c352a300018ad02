"""graphrev rewrites TensorFlow graphs: recompute-on-backward for reversible residual blocks.

Importing it is cheap: nothing imports TensorFlow until something needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphrev import passes
    from graphrev.api import Rewritten, analyze, load, rewrite, save, verify
    from graphrev.decorator import rewritten
    from graphrev.errors import GraphrevError
    from graphrev.io import Model
    from graphrev.marks import mark_residual_pair, no_rewrite, residual_pair
    from graphrev.report import Report
    from graphrev.verification import Verification

__version__ = "0.1.0"

_HOMES = {
    "GraphrevError": "graphrev.errors",
    "Model": "graphrev.io",
    "Report": "graphrev.report",
    "Rewritten": "graphrev.api",
    "Verification": "graphrev.verification",
    "analyze": "graphrev.api",
    "load": "graphrev.api",
    "mark_residual_pair": "graphrev.marks",
    "no_rewrite": "graphrev.marks",
    "passes": "graphrev.passes",
    "residual_pair": "graphrev.marks",
    "rewrite": "graphrev.api",
    "rewritten": "graphrev.decorator",
    "save": "graphrev.api",
    "verify": "graphrev.api",
}

__all__ = [
    "GraphrevError",
    "Model",
    "Report",
    "Rewritten",
    "Verification",
    "analyze",
    "load",
    "mark_residual_pair",
    "no_rewrite",
    "passes",
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
