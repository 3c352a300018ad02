"""A library function's body as a graph of its own, and back.

Arguments become ``Placeholder`` nodes of the same names. One more node, of no op that TensorFlow
knows, reads what the function returns and waits for what it must have run: so nothing that is
returned looks unread, and rewiring a return value is rewiring an input. In a body an input is
spelled ``node:port:index`` (core/framework/function.proto); in the graph it has its flat index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

from graphrev.analysis import ops
from graphrev.analysis.dims import Dim
from graphrev.analysis.shape_inputs import DIMS_ATTR, as_attr
from graphrev.ir import (
    Argument,
    AttrPlaceholder,
    AttrValue,
    Function,
    Graph,
    Node,
    Shape,
    TensorRef,
)
from graphrev.ir.deferred import BLOCK_ATTR

RESULTS_OP = "GraphrevResults"
"""The op of the node that reads what a body returns."""

Known: TypeAlias = "tuple[Dim | None, ...] | None"
"""A shape: numbers, names of numbers, and ``None`` for dimensions that have not even names."""

HOLDER_OP = "GraphrevHolder"
"""The op of a node that follows tensors through changes of a graph, and counts as no reader."""


class BodyError(Exception):
    """A body cannot be read as a graph; ``nodes`` says where, the text why."""

    def __init__(self, reason: str, *nodes: str) -> None:
        super().__init__(reason)
        self.nodes = nodes


@dataclass(frozen=True, eq=False)
class Body:
    """A function's body as a graph.

    Attributes:
        function: the function it was read from.
        graph: placeholders, the body's nodes, and last the node that reads the results.
        arguments: the placeholders in order.
        results: the name of the node that reads the results.
    """

    function: Function
    graph: Graph
    arguments: tuple[str, ...]
    results: str

    @property
    def returned(self) -> tuple[TensorRef, ...]:
        """What the function returns, in order."""
        return self.graph[self.results].inputs


def body_of(function: Function, library: Graph, shapes: Sequence[Known] = ()) -> Body:
    """The body of ``function``.

    Args:
        library: the graph whose library the function's own calls are looked up in.
        shapes: the shapes of its arguments, as far as they are known; of a resource variable's
            handle the shape of the variable.

    Raises:
        BodyError: an op's outputs cannot be told apart, or the function has type attributes.
    """
    nodes: dict[str, Node] = {}
    for place, item in enumerate(function.inputs):
        if item.dtype is None:
            raise BodyError(f"Argument '{item.name}' has no fixed type.", function.name)
        known = shapes[place] if place < len(shapes) else None
        attrs = MappingProxyType({"dtype": item.dtype, **_declared(known)})
        nodes[item.name] = Node(item.name, "Placeholder", attrs=attrs)
    arguments = tuple(nodes)
    for name, node in function.nodes.items():
        if name in nodes or any(isinstance(v, AttrPlaceholder) for v in node.attrs.values()):
            raise BodyError(f"Node '{name}' is no plain node.", name)
        inputs = tuple(_flat(function, library, ref) for ref in node.inputs)
        waits = tuple(source for source in node.control_inputs if source not in arguments)
        nodes[name] = (
            node
            if inputs == node.inputs and waits == node.control_inputs
            else (node.evolve(inputs=inputs, control_inputs=waits))
        )
    results = _free("graphrev_results", nodes)
    nodes[results] = Node(
        results,
        RESULTS_OP,
        tuple(_flat(function, library, function.returns[o.name]) for o in function.outputs),
        tuple(dict.fromkeys(function.control_returns.values())),
        attrs=MappingProxyType({BLOCK_ATTR: b""}),
    )
    graph = replace(library, nodes=MappingProxyType(nodes))
    return Body(function, graph, arguments, results)


def _declared(known: Known) -> Mapping[str, AttrValue]:
    """A placeholder's shape; unknown dimensions that have names keep them."""
    if known is None:
        return {"shape": Shape(None)}
    shape = Shape(tuple(dim if isinstance(dim, int) else None for dim in known))
    dims = tuple(dim for dim in known if dim is not None)
    named = as_attr(dims) if len(dims) == len(known) else None
    if named is None or shape.is_fully_defined:
        return {"shape": shape}
    return {"shape": shape, DIMS_ATTR: named}


def function_of(
    template: Function,
    name: str,
    arguments: Sequence[Argument],
    nodes: Mapping[str, Node],
    returns: Sequence[tuple[Argument, TensorRef]],
    library: Graph,
) -> Function:
    """A function made of graph nodes; what is not said is as in ``template``.

    Args:
        arguments: its arguments; placeholders of their names must not be among ``nodes``.
        nodes: the nodes of the body, with flat input indices.
        returns: what it returns.

    Raises:
        BodyError: an output cannot be spelled.
    """
    own = frozenset(item.name for item in arguments)
    body = {
        key: node.evolve(inputs=tuple(_spelled(nodes, own, library, ref) for ref in node.inputs))
        for key, node in nodes.items()
    }
    return replace(
        template,
        name=name,
        inputs=tuple(arguments),
        outputs=tuple(item for item, _ in returns),
        nodes=MappingProxyType(body),
        returns=MappingProxyType(
            {item.name: _spelled(nodes, own, library, ref) for item, ref in returns}
        ),
        control_returns=MappingProxyType(
            {key: node for key, node in template.control_returns.items() if node in nodes}
        ),
        raw=None,
    )


def function_of_body(body: Body, graph: Graph, name: str) -> Function:
    """The function that a rewritten body is; its arguments are what they were.

    Raises:
        BodyError: an output cannot be spelled.
    """
    left_out = {*body.arguments, body.results}
    nodes = {key: node for key, node in graph.nodes.items() if key not in left_out}
    returns = tuple(zip(body.function.outputs, graph[body.results].inputs))
    return function_of(body.function, name, body.function.inputs, nodes, returns, graph)


def _flat(function: Function, library: Graph, ref: TensorRef) -> TensorRef:
    node = function.nodes.get(ref.node)
    if node is None or not ref.port:
        return TensorRef(ref.node, ref.index)
    ports = _ports(node, library)
    if ref.port not in ports:
        raise BodyError(f"'{ref.node}' ({node.op}) has no output '{ref.port}'.", ref.node)
    return TensorRef(ref.node, ports[ref.port].start + ref.index)


def _spelled(
    nodes: Mapping[str, Node], arguments: frozenset[str], library: Graph, ref: TensorRef
) -> TensorRef:
    if ref.node in arguments:
        return TensorRef(ref.node)
    node = nodes[ref.node]
    for port, places in _ports(node, library).items():
        if ref.index in places:
            return TensorRef(ref.node, ref.index - places.start, port)
    raise BodyError(f"'{ref.node}' ({node.op}) has no output {ref.index}.", ref.node)


def _ports(node: Node, library: Graph) -> Mapping[str, range]:
    called = library.functions.get(node.op)
    if called is not None:
        return {item.name: range(i, i + 1) for i, item in enumerate(called.outputs)}
    ports = ops.output_ranges(node)
    if ports is None:
        raise BodyError(f"Nothing is known of the outputs of op '{node.op}'.", node.name)
    return ports


def _free(wanted: str, taken: Mapping[str, Node]) -> str:
    name, number = wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name
