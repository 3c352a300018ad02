"""The protobuf modules, untyped: the one place where their missing type stubs are accepted."""

from __future__ import annotations

import importlib
from typing import Any


def light(module: str) -> Any:
    """A proto module that loads without TensorFlow, wire-compatible with TensorFlow's own."""
    return importlib.import_module(f"tensorboard.compat.proto.{module}")


def tensorflow_core(module: str) -> Any:
    """A proto module of TensorFlow itself (``framework.graph_pb2``); imports TensorFlow."""
    return importlib.import_module(f"tensorflow.core.{module}")
