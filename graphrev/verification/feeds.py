"""What to feed where the caller does not say: placeholders, and whatever waits for others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from graphrev.analysis import ops
from graphrev.analysis.shapes import Shapes
from graphrev.errors import UsageError, VerificationError, printable
from graphrev.ir import DType, Graph, Shape, TensorRef
from graphrev.verification.choices import SOURCES, has_output, tensor_named

UNKNOWN_DIM = 4
"""Size of a fed dimension that the graph leaves open."""


def make_feeds(
    graph: Graph, shapes: Shapes, needed: Iterable[str], given: Mapping[str, Any], seed: int
) -> dict[TensorRef, Any]:
    """Values for every placeholder and input-pipeline output among ``needed``.

    Floats are drawn from the standard normal distribution, integers from {0, 1} (valid for labels
    of any classifier), from a generator seeded by ``seed``. Unknown dimensions are
    :data:`UNKNOWN_DIM`.

    Args:
        given: by tensor name an array to feed, or a :class:`~graphrev.ir.Shape` to draw.

    Raises:
        VerificationError: a placeholder's type cannot be made up, or its rank is unknown.
        UsageError: a given shape does not fit, or there is no such tensor.
    """
    import numpy as np

    draw = np.random.default_rng(seed)
    feeds: dict[TensorRef, Any] = {}
    for name, value in given.items():
        ref = tensor_named(name)
        if ref.node not in graph or not has_output(graph, ref):
            raise UsageError(f"There is no tensor '{printable(name)}' to feed.")
        if isinstance(value, Shape):
            feeds[ref] = _drawn(draw, ref, _fitting(shapes, ref, value), shapes.dtype(ref))
        else:
            feeds[ref] = np.asarray(value)
    for name in sorted(needed):
        node = graph[name]
        if node.op in ("Placeholder", "PlaceholderV2") or node.op in SOURCES:
            for index in range(ops.output_count(node) or 0):
                ref = TensorRef(name, index)
                if ref not in feeds:
                    shape = shapes.of(ref)
                    feeds[ref] = _drawn(draw, ref, shape, shapes.dtype(ref))
    return feeds


def _fitting(shapes: Shapes, ref: TensorRef, given: Shape) -> Shape:
    static = shapes.of(ref)
    if static.dims is not None and given.dims is not None:
        fits = len(static.dims) == len(given.dims) and all(
            a is None or b is None or a == b for a, b in zip(static.dims, given.dims)
        )
        if not fits:
            raise UsageError(
                f"Shape {_spelled(given)} does not fit '{printable(str(ref))}', whose shape is "
                f"{_spelled(static)}."
            )
    return given


def _spelled(shape: Shape) -> str:
    if shape.dims is None:
        return "unknown"
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape.dims) + "]"


def _drawn(draw: Any, ref: TensorRef, shape: Shape, dtype: DType | None) -> Any:
    import numpy as np

    name = printable(str(ref))
    if shape.dims is None:
        raise VerificationError(
            f"The shape of '{name}' is unknown. Give it with --feed {ref.node}=SHAPE."
        )
    dims = tuple(UNKNOWN_DIM if dim is None else dim for dim in shape.dims)
    if dtype is DType.BFLOAT16:
        import ml_dtypes

        return draw.standard_normal(dims).astype(ml_dtypes.bfloat16)
    numpy_names = {DType.FLOAT: "float32", DType.DOUBLE: "float64", DType.HALF: "float16"}
    if dtype is not None and dtype in numpy_names:
        return draw.standard_normal(dims).astype(numpy_names[dtype])
    if dtype is DType.BOOL:
        return draw.integers(0, 2, dims).astype(bool)
    if dtype is DType.STRING:
        return np.full(dims, b"", dtype=object) if math.prod(dims) else np.empty(dims, object)
    if dtype is not None and dtype.byte_size is not None and not dtype.is_complex:
        return draw.integers(0, 2, dims).astype(dtype.name.lower())
    kind = dtype.name.lower() if dtype else "unknown type"
    raise VerificationError(
        f"No value can be made up for '{name}' ({kind}). "
        "Fetch something that does not need it (--fetch NAME), or feed it from Python."
    )
