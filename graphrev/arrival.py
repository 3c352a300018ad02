"""Registers the deferred gradient with TensorFlow, without importing TensorFlow.

A graph file that graphrev rewrote before differentiation needs its gradient registered in the
program that differentiates it, and ``import graphrev`` is all such a program says. TensorFlow takes
seconds to import, so the registration waits: if TensorFlow is there already it happens at once,
otherwise right after the module that owns the registry has been loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

GRADIENT = "GraphrevRegion"
"""The name the gradient is registered under; it is written into graphs."""

_OWNER = "tensorflow.python.framework.ops"


def register_when_tensorflow_arrives() -> None:
    """Registers the gradient now, or as soon as TensorFlow is imported; once per process."""
    owner = sys.modules.get(_OWNER)
    if owner is not None and hasattr(owner, "RegisterGradient"):
        _register(owner)
    elif not any(isinstance(finder, _Arrival) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Arrival())


def _register(owner: ModuleType) -> None:
    registry: Any = owner
    try:
        registry.gradient_registry.lookup(GRADIENT)
    except LookupError:
        registry.RegisterGradient(GRADIENT)(_gradient)


def _gradient(op: Any, *grads: Any) -> list[Any]:
    return importlib.import_module("graphrev.gradients").region_gradient(op, *grads)


class _Arrival(MetaPathFinder):
    """Waits for one module, hands its import to everybody else, then registers."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _OWNER or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    """Another loader, followed by the registration."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Arrival)]
        _register(module)
