"""The graph as frozen data: nodes, tensors, attributes, functions."""

from graphrev.ir.attrs import (
    AttrPlaceholder,
    Attrs,
    AttrScalar,
    AttrValue,
    FunctionRef,
    OpaqueAttr,
    Shape,
    TensorValue,
)
from graphrev.ir.dtypes import DType
from graphrev.ir.graph import Argument, Function, Graph, Versions
from graphrev.ir.node import Node, TensorRef

__all__ = [
    "Argument",
    "AttrPlaceholder",
    "AttrScalar",
    "AttrValue",
    "Attrs",
    "DType",
    "Function",
    "FunctionRef",
    "Graph",
    "Node",
    "OpaqueAttr",
    "Shape",
    "TensorRef",
    "TensorValue",
    "Versions",
]
