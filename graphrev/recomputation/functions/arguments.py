"""The shapes that the arguments of a functional node's bodies have.

Unknown dimensions keep the names they have outside, so that two arguments of one batch are known to
be equally long. In a loop that holds for a variable that an iteration hands on in the shape it came
in with; where that is not so, only what the node itself declares is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphrev.analysis import dims as sizes
from graphrev.analysis import ops
from graphrev.analysis.functions_bodies import Body, Known, body_of
from graphrev.analysis.functions_pairs import arguments_of, family_of
from graphrev.analysis.identities import origin
from graphrev.analysis.shapes import Shapes, infer_shapes
from graphrev.ir import DType, Function, Graph, Node, Shape, TensorRef

_ROUNDS = 4


def body_for(function: Function, level: Graph, shapes: Shapes, node: Node) -> Body:
    """The body of ``function`` as ``node`` runs it.

    Args:
        shapes: the shapes of the graph that ``node`` lies in.

    Raises:
        BodyError: the body cannot be read as a graph.
    """
    known: list[Known] = [_known(shapes, ref) for ref in arguments_of(node)]
    if family_of(node) != "loop":
        return body_of(function, level, known)
    declared = _declared(node, len(known))
    for place, item in enumerate(function.inputs):
        if item.dtype is DType.RESOURCE:  # the loop declares the handle, not the variable
            declared[place] = known[place]
    known = [first if _fits(first, other) else other for first, other in zip(known, declared)]
    for _ in range(_ROUNDS):
        body = body_of(function, level, known)
        changing = _changing(body, known)
        if not changing:
            return body
        known = [declared[i] if i in changing else item for i, item in enumerate(known)]
    return body_of(function, level, declared)


def common_shapes(shapes: Shapes, nodes: Sequence[Node]) -> list[Known]:
    """The shapes of the arguments that all ``nodes`` give their function alike.

    A loop's variables may change their shapes; nothing is said of these.
    """
    if any(family_of(node) == "loop" for node in nodes):
        return []
    listed = [[_known(shapes, ref) for ref in arguments_of(node)] for node in nodes]
    return [each[0] if all(item == each[0] for item in each) else None for each in zip(*listed)]


def _known(shapes: Shapes, ref: TensorRef) -> Known:
    """A tensor's shape; of a resource variable's handle the shape of the variable."""
    node = shapes.graph[origin(shapes.graph, ref).node]
    dtype = ops.output_dtype(node, ref.index) if node.op != "VarHandleOp" else DType.RESOURCE
    shape = node.attrs.get("shape")
    if dtype is DType.RESOURCE and isinstance(shape, Shape):
        return shape.dims
    return shapes.dims(ref)


def _declared(node: Node, count: int) -> list[Known]:
    listed = node.attrs.get("output_shapes")
    items = listed if isinstance(listed, tuple) and len(listed) == count else (None,) * count
    return [
        tuple(None if dim is None or dim < 0 else dim for dim in item.dims)
        if isinstance(item, Shape) and item.dims is not None
        else None
        for item in items
    ]


def _fits(known: Known, declared: Known) -> bool:
    """Whether what enters a loop says more than what the loop declares."""
    return known is not None and (declared is None or len(known) == len(declared))


def _changing(body: Body, known: list[Known]) -> set[int]:
    """The arguments that an iteration hands on in another shape, or whose shape is lost.

    A condition returns one truth value, and says nothing of the variables.
    """
    if len(body.returned) != len(known):
        return set()
    if all(item is None or all(isinstance(dim, int) for dim in item) for item in known):
        return set()
    shapes = infer_shapes(body.graph)
    return {
        place
        for place, (name, ref) in enumerate(zip(body.arguments, body.returned))
        if any(isinstance(dim, tuple) for dim in known[place] or ())
        and sizes.same(shapes.dims(TensorRef(name)), shapes.dims(ref)) is not True
    }
