"""Facts about one graph that people compare first: op counts, parameters, predicted memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from graphrev.analysis import ops
from graphrev.analysis.liveness import MemoryProfile, predict_memory, training_targets
from graphrev.ir import DType, Graph, Node, Shape
from graphrev.ir.verify import problems


def op_counts(graph: Graph) -> dict[str, int]:
    """How many nodes there are of each op, sorted by op; function bodies are not counted."""
    return dict(sorted(Counter(node.op for node in graph.nodes.values()).items()))


def variables(graph: Graph) -> dict[str, tuple[DType | None, Shape]]:
    """The variables: element type and shape by node name, in graph order."""
    return {n.name: _type_of(n) for n in graph.nodes.values() if ops.is_variable(n.op)}


def _type_of(node: Node) -> tuple[DType | None, Shape]:
    dtype, shape = node.attrs.get("dtype"), node.attrs.get("shape")
    return (
        dtype if isinstance(dtype, DType) else None,
        shape if isinstance(shape, Shape) else Shape(None),
    )


def parameter_count(graph: Graph) -> int:
    """Elements of all variables whose shape is known."""
    total = 0
    for _, shape in variables(graph).values():
        if shape.is_fully_defined and shape.dims is not None:
            total += math.prod(dim for dim in shape.dims if dim is not None)
    return total


def predicted(
    graph: Graph, targets: tuple[str, ...], feeds: Mapping[str, Shape]
) -> MemoryProfile | None:
    """The memory a step is predicted to take; ``None`` for a graph that breaks an invariant."""
    if any(problem.is_error for problem in problems(graph, ops.output_count, ops.input_count)):
        return None
    named = tuple(name for name in targets if name in graph)
    return predict_memory(graph, named or training_targets(graph), feeds)


def size_text(count: int) -> str:
    """Bytes in the unit that suits them (powers of ten)."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return (
                f"{count / size:.3g} {unit}" if count < 100 * size else f"{count / size:.0f} {unit}"
            )
    return f"{count} bytes"
