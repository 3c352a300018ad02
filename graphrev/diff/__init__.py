"""What differs between two graphs, as plain data, and renderers of it."""

from graphrev.diff.compare import compare, step_diff
from graphrev.diff.graph_diff import (
    EntryChange,
    FieldChange,
    FunctionChange,
    GraphDiff,
    NodeChange,
    Side,
    Status,
    TensorChange,
)

__all__ = [
    "EntryChange",
    "FieldChange",
    "FunctionChange",
    "GraphDiff",
    "NodeChange",
    "Side",
    "Status",
    "TensorChange",
    "compare",
    "step_diff",
]
